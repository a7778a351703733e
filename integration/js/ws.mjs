// A clinician with the npm package ws: watches, answers the alert, leaves, and
// resumes where it stood. Each frame is written as a line.
//
//   node ws.mjs URL TOKEN PATIENT
import {randomUUID} from "node:crypto";
import {createInterface} from "node:readline";
import WebSocket from "ws";

const [url, token, patient] = process.argv.slice(2);
const bearer = Buffer.from(token).toString("base64url");
const say = (what) => console.log(typeof what === "string" ? what : JSON.stringify(what));
let position;

function connect(until) {
  return new Promise((resolve, reject) => {
    const ws = new WebSocket(url, ["carewire.v1", "carewire.bearer." + bearer]);
    const send = (frame) => ws.send(JSON.stringify(frame));
    ws.on("error", reject);
    ws.on("open", () => say(`open ${ws.protocol} extensions="${ws.extensions}"`));
    ws.on("close", (code, reason) => { say(`closed ${code} ${reason}`); resolve(); });
    ws.on("message", (data, binary) => {
      if (binary) return reject(new Error("a binary message"));
      const frame = JSON.parse(data);
      say(frame);
      if (frame.type === "welcome") {
        send({type: "watch", req: "w", patients: [patient], ...(position ? {since: {[patient]: position}} : {})});
      }
      if (frame.seq !== undefined && frame.epoch && frame.type !== "sync") position = {epoch: frame.epoch, seq: frame.seq};
      if (frame.type === "alert" && frame.alert.responsibility.state === "undefined" && !ws.answered) {
        ws.answered = true;
        const {key, alert_id} = frame.alert;
        send({type: "answer", req: "a", patient, key, alert_id, event_id: randomUUID(), do: "accept", reason: "from node"});
      }
      if (until(frame)) ws.close(1000);
    });
  });
}

await connect((f) => f.type === "alert" && f.alert.responsibility.state === "accepted");
const input = createInterface({input: process.stdin});
await new Promise((resolve) => input.once("line", resolve)); // the test says when
input.close();
await connect((f) => f.type === "synced");
