const out = (text) => document.getElementById("out").append(text + "\n");
let socket, req = 0;
const send = (frame) => socket.send(JSON.stringify({req: String(++req), ...frame}));

// The session is in a cookie that scripts cannot read; the Hub reads it.
async function begin() {
  const me = await fetch("/me");
  if (!me.ok) return out("Not signed in.");
  const {id, groups} = await me.json();
  out("Signed in as " + id + ".");
  socket = new WebSocket(location.origin.replace("http", "ws") + "/carewire", ["carewire.v1"]);
  socket.onmessage = (message) => {
    const frame = JSON.parse(message.data);
    if (frame.type === "welcome") send({type: "watch", groups});
    if (frame.type === "vital") out(`${frame.patient}  ${frame.vital.code} ${frame.vital.value} ${frame.vital.unit}`);
    if (frame.type === "alert") out(`${frame.patient}  ALERT ${frame.alert.priority}: ${frame.alert.text}`);
    if (frame.type === "ok" && frame.refused) out("Refused.");
  };
  socket.onclose = (event) => out("The connection has ended: " + event.code);
}

document.getElementById("logout").onclick = async () => out((await fetch("/logout", {method: "POST"})).ok ? "Logged out." : "Try again.");
document.getElementById("glass").onclick = () => send({type: "watch", patients: ["p-17"], emergency: true, reason: "cardiac arrest"});
begin();
