import {createClient} from "../client.js";

onmessage = (m) => {
  const client = createClient({url: "/carewire", token: m.data}), watch = client.watch({patients: ["p-1"]});
  client.subscribe(() => postMessage([client.state.name, watch.patients.get("p-1")?.newest("8867-4")?.value]));
};
