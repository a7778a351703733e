// Messages read for a screen.

/** @typedef {import("@carewire/client").Client} Client */
/** @typedef {import("@carewire/client").Notice} Notice */
/** @typedef {import("@carewire/client").Receipt} Receipt */

/** Whether a message is addressed to the user. @param {Client} client @param {Notice} n */
export function toMe(client, n) {
  const me = client.me;
  return me !== undefined && n.from !== me.id && (client.inbox.has(`${n.patient} ${n.notice_id}`) ||
    (n.to ?? []).some((t) => t === "person:" + me.id || t === "role:" + me.role || t === "patient" && me.role === "patient" || t.startsWith("group:") && me.role === "clinician"));
}

/** The first receipt of a reader of a message. @param {Client} client @param {Notice} n @returns {Receipt | undefined} */
export const readBy = (client, n) => client.patients.get(n.patient)?.receipts.get(n.notice_id)?.find((r) => r.stage === "read");

/** All messages, those of the inbox too, newest first. @param {Client} client @param {string} [patient] only of one @returns {Notice[]} */
export function noticesOf(client, patient) {
  const all = [...client.patients.values()].flatMap((p) => [...p.notices.values()]);
  for (const x of client.inbox.values()) if ("notice_id" in x && !client.patients.has(x.patient)) all.push(x);
  return all.filter((n) => patient === undefined || n.patient === patient).sort((a, b) => b.time.localeCompare(a.time));
}

/** Those to the user that nobody has read. @param {Client} client @returns {Notice[]} */
export const unreadOf = (client) => noticesOf(client).filter((n) => toMe(client, n) && !readBy(client, n));
