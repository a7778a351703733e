// Reads pushes by foreign code: {subscription, private, auth, body, header, text}
// as JSON on its input, bytes in base64url. Prints body as http_ece decrypts it,
// the verdict of jws on the header's signature, and text as web-push encrypts it.
import {createECDH, createPublicKey} from "node:crypto";
import {readFileSync} from "node:fs";
import ece from "http_ece";
import jws from "jws";
import webpush from "web-push";

const bytes = (text) => Buffer.from(text, "base64url");
const c = JSON.parse(readFileSync(0));
const browser = createECDH("prime256v1");
browser.setPrivateKey(bytes(c.private));
const opened = ece.decrypt(bytes(c.body), {version: "aes128gcm", privateKey: browser, authSecret: bytes(c.auth)});

const [, token, key] = /^vapid t=([^,]+), k=(\S+)$/.exec(c.header), point = bytes(key);
const pem = createPublicKey({key: {kty: "EC", crv: "P-256", x: point.subarray(1, 33).toString("base64url"), y: point.subarray(33).toString("base64url")}, format: "jwk"})
  .export({type: "spki", format: "pem"});

const own = webpush.generateVAPIDKeys();
const details = webpush.generateRequestDetails(c.subscription, c.text, {TTL: 60, urgency: "high", topic: "t".repeat(32),
  vapidDetails: {subject: "mailto:it@hospital.example", ...own}});
console.log(JSON.stringify({opened: opened.toString(), signed: jws.verify(token, "ES256", pem), claims: jws.decode(token).payload,
  theirs: details.body.toString("base64url"), headers: details.headers, vapid: own}));
