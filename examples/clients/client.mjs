// The six tasks of docs/clients.md in JavaScript: for Node here, the same in pages.
import {createClient} from "../../js/client/client.js";
import {follows, values} from "../../js/client/waves.js";

const {CAREWIRE_URL: url, TOKEN_URL: tokens, PATIENT: patient} = process.env;

const freshToken = () => fetch(tokens).then((answer) => answer.text());
const client = createClient({url, token: freshToken}); // in a page also: storage: userID

let last;
client.on("wave", (w) => {
  if (last && !follows(w, last)) console.log("gap");
  console.log("wave", w.code, w.n, values(w).length);
  last = w;
});

const watch = client.watch({patients: [patient], waves: ["131330"]});
client.on("vital", (v) => console.log("vital", v.code, v.value));
client.on("state", ({name}) => console.log("line", name)); // live, quiet, lost, failing, ended
await watch.ready;

const published = await client.publish([{patient, code: "8310-5", value: "37.0", unit: "Cel"}]).over;
console.log("published", published.state, published.code ?? "");

client.on("alert", async (alert) => {
  if (alert.ended || alert.responsibility.state !== "undefined") return;
  const answer = await client.accept(alert, {reason: "on my way"}).over;
  console.log("accept", answer.state, answer.code ?? "");
});

const notice = await client.notify({patient, to: ["group:ward-5"], text: "Blood is taken."}).over;
console.log("notice", notice.state, notice.code ?? "");
