// A foreign HL7 sender and receiver for a test: simple-hl7.
//
//   node hl7.mjs send PORT   sends the message of standard input, prints the acknowledgement
//   node hl7.mjs serve PORT  prints the content of each message, and acknowledges it
import hl7 from "simple-hl7";

const [what, port] = process.argv.slice(2);
if (what === "send") {
  let text = "";
  for await (const part of process.stdin) text += part;
  const client = hl7.Server.createTcpClient("127.0.0.1", Number(port));
  client.send(new hl7.Parser().parse(text), (err, ack) => {
    if (err) throw err;
    const msa = ack.getSegment("MSA");
    console.log(JSON.stringify({code: String(msa.getField(1)), id: String(msa.getField(2)), errors: ack.getSegments("ERR").length}));
    process.exit(0);
  });
} else {
  const app = hl7.tcp();
  app.use((req, res) => {
    const obx = req.msg.getSegments("OBX");
    console.log(JSON.stringify({type: `${req.type}^${req.event}`, id: String(req.msg.header.getField(8)), text: obx[1].getField(5),
      metric: obx[2].getComponent(3, 2), value: obx[2].getField(5), facets: obx.slice(3).map((s) => s.getField(5))}));
    res.end();
  });
  app.start(Number(port));
  console.log("ready");
}
