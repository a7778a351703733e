// Asks two UCUM libraries whether each of the arguments is a unit: a line for
// each, with the verdicts of @lhncbc/ucum-lhc and @atomic-ehr/ucum.
import { createRequire } from "node:module";
import { ucum } from "@atomic-ehr/ucum";

const require = createRequire(import.meta.url);
const lhc = require("@lhncbc/ucum-lhc").UcumLhcUtils.getInstance();
const atomic = (unit) => {
  try {
    return ucum.validate(unit).valid;
  } catch {
    return false; // it throws at characters that no unit has
  }
};
for (const unit of process.argv.slice(2)) {
  console.log(JSON.stringify({ unit, lhc: lhc.validateUnitString(unit).status === "valid", atomic: atomic(unit) }));
}
