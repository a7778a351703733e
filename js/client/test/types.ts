// The types as a user's TypeScript sees them: it is compiled, never run.
import {createClient, RequestError, type Alert, type Command, type State, type Vital, type WatchSpec} from "@carewire/client";
import {follows, Sweep, values} from "@carewire/client/waves.js";

const spec: WatchSpec = {groups: ["ward-5"], delivery: "every"};
const client = createClient({url: "/carewire", token: async () => "t", storage: "ada"});
const watch = client.watch(spec);
client.on("alert", (a: Alert, {live}) => console.log(a.alert_id, a.rev + 1, live));
client.on("revoked", (id: string) => console.log(id));
client.subscribe(({patients, state}) => {
  const s: State = client.state;
  const v: Vital | undefined = watch.patients.get("p-1")?.newest("8867-4");
  console.log(s.name === "quiet", s.nextTry?.toFixed(), v?.value, patients.has("p-1"), state);
});
for (const a of client.alerts) {
  const c: Command = client.accept(a, {expireAfter: 5});
  c.over.then(({state, code, alert}) => console.log(state === "expired", code, alert?.responsibility.by?.id));
}
client.raise({patient: "p-1", text: "help", priority: "medium"});
client.publish([{patient: "p-1", code: "8867-4", value: 72, unit: "/min"}]);
for await (const e of client.history({patient: "p-1"})) console.log(e.type);
client.request({type: "unwatch"}).catch((e: RequestError) => console.log(e.code, e.field));

const sweep = new Sweep(document.createElement("canvas"), {seconds: 8});
client.on("wave", (w) => {
  if (!sweep.last || follows(w, sweep.last)) sweep.push(w);
  console.log(values(w)[0].toFixed(), sweep.old, w.rate / 2);
});

// @ts-expect-error an alert is no text
client.accept("alert");
// @ts-expect-error no such priority
client.raise({patient: "p-1", text: "help", priority: "urgent"});
// @ts-expect-error no such event
client.on("alarm", () => {});
