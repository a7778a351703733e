// Reads the measurements of Bluetooth Low Energy health devices in the browser,
// as the Go package ble does: the same vectors prove both.
//
//   button.onclick = async () => {
//     const stop = await listen({patient: "p-17", zone: "local"}, (vitals) => client.publish(vitals));
//   };

/** The characteristics that are read, and the services that hold them. */
export const characteristics = {
  0x2A18: 0x1808, 0x2A1C: 0x1809, 0x2A1E: 0x1809, 0x2A35: 0x1810, 0x2A37: 0x180D, 0x2A5E: 0x1822, 0x2A5F: 0x1822, 0x2A9D: 0x181D, 0x2AA7: 0x181F,
};

const LOINC = "loinc", recordAccess = 0x2A52;

/**
 * The source of the measurements: the patient and the device. `zone` is the zone of the device's clock, "local" or minutes east of UTC; without it a
 * measurement with a time is refused, because its zone is unknown. `session` is when the session of a continuous glucose monitor began.
 * @typedef {{patient: string, device?: string, zone?: "local" | number, session?: Date}} Source
 */

/**
 * Returns the vitals that a value of the characteristic holds: several, one, or none for a value that is no measurement of a patient. A measurement that
 * failed is a vital that is absent, and never a number. It throws an Error that names the characteristic and the fault, never the value.
 * @param {Source} source
 * @param {number} characteristic
 * @param {DataView} value
 */
export function decode(source, characteristic, value) {
  const read = {0x2A18: glucose, 0x2A1C: temperature, 0x2A1E: temperature, 0x2A35: bloodPressure, 0x2A37: heartRate, 0x2A5E: oximeterSpot,
    0x2A5F: oximeterContinuous, 0x2A9D: weight, 0x2AA7: cgm}[characteristic];
  if (!read) throw new Error("ble: no such characteristic is read");
  const r = new Reader(value, characteristic);
  const vitals = read(r, source);
  for (const v of vitals) {
    if (characteristic === 0x2A1E) flag(v, true, "early");
    v.patient = source.patient;
    if (source.device) v.device = source.device;
  }
  return vitals;
}

/**
 * Asks the user for a device, which the browser allows behind a click only, and calls got with the vitals of each measurement, and fault, if given,
 * with an Error of one that cannot be read. A glucose meter is asked for all that it has stored: those that were published before have the same IDs.
 * Returns a function that ends it.
 * @param {Source} source
 * @param {(vitals: object[]) => void} got
 * @param {(error: Error) => void} [fault]
 */
export async function listen(source, got, fault = () => {}) {
  const services = [...new Set(Object.values(characteristics))];
  const device = await navigator.bluetooth.requestDevice({filters: services.map((s) => ({services: [s]}))});
  const server = await device.gatt.connect();
  const named = {device: device.id.replace(/[^A-Za-z0-9._:-]/g, "-").slice(0, 30), ...source};
  for (const service of await server.getPrimaryServices()) {
    let records, glucose = false;
    for (const c of await service.getCharacteristics()) {
      const number = c.uuid.endsWith("-0000-1000-8000-00805f9b34fb") ? parseInt(c.uuid.slice(4, 8), 16) : 0;
      if (number === recordAccess) records = c;
      if (!(number in characteristics)) continue;
      glucose ||= number === 0x2A18;
      c.addEventListener("characteristicvaluechanged", () => {
        let vitals;
        try { vitals = decode(named, number, c.value); } catch (error) { return fault(error); }
        if (vitals.length > 0) got(vitals);
      });
      await c.startNotifications();
    }
    if (glucose && records) {
      await records.startNotifications();
      await records.writeValueWithResponse(Uint8Array.of(1, 1)); // report stored records: all
    }
  }
  return () => device.gatt.disconnect();
}

// Reader takes values off the front of a characteristic.
class Reader {
  constructor(view, characteristic) { this.view = view; this.at = 0; this.characteristic = characteristic; }

  get left() { return this.view.byteLength - this.at; }
  fail(reason) { throw new Error(`ble: ${this.characteristic.toString(16).toUpperCase()}: ${reason}`); }

  uint(n) {
    if (this.left < n) this.fail("is cut short");
    let u = 0;
    for (let i = 0; i < n; i++) u += this.view.getUint8(this.at++) * 2 ** (8 * i);
    return u;
  }

  end() { if (this.left > 0) this.fail("has bytes that no flag speaks of"); }

  // time reads a date and time; undefined if the device does not know it.
  time(source) {
    const [year, month, day, hour, minute, second] = [this.uint(2), this.uint(1), this.uint(1), this.uint(1), this.uint(1), this.uint(1)];
    if (!year || !month || !day) return undefined;
    const date = new Date(Date.UTC(year, month - 1, day, hour, minute, second));
    if (year < 1582 || year > 9998 || month > 12 || hour > 23 || minute > 59 || second > 59 || date.getUTCDate() !== day) {
      this.fail("has no date");
    }
    if (source.zone === undefined) throw new Error("ble: a time needs a zone");
    if (source.zone === "local") return new Date(year, month - 1, day, hour, minute, second);
    return new Date(date.getTime() - source.zone * 60000);
  }

  // sfloat and float read a number: its digits say how exact it is. undefined: there is none.
  sfloat() {
    const u = this.uint(2);
    if ([0x07FF, 0x0800, 0x07FE, 0x0801, 0x0802].includes(u)) return undefined;
    return {mantissa: (u & 0xFFF) << 20 >> 20, exponent: u << 16 >> 28};
  }

  float() {
    const u = this.uint(4);
    if ([0x007FFFFF, 0x00800000, 0x007FFFFE, 0x00800001, 0x00800002].includes(u)) return undefined;
    return {mantissa: u << 8 >> 8, exponent: (u | 0) >> 24};
  }

  // number returns a vital with the number, or an absent one if there is none.
  number(code, f, shift, unit) {
    if (f === undefined) return {code, absent: "error"};
    const value = decimal(f.mantissa, f.exponent + shift);
    if (value === undefined) this.fail("has a number out of range");
    return {code, value, unit};
  }
}

// decimal writes mantissa times 10^exponent with all its digits; undefined if that has no decent form.
function decimal(mantissa, exponent) {
  if (exponent > 8 || exponent < -12) return undefined;
  let digits = String(Math.abs(mantissa));
  const sign = mantissa < 0 ? "-" : "";
  if (exponent >= 0) return mantissa === 0 ? "0" : sign + digits + "0".repeat(exponent);
  digits = digits.padStart(1 - exponent, "0");
  return sign + digits.slice(0, exponent) + "." + digits.slice(exponent);
}

function flag(v, set, quality) {
  if (set && !v.quality?.includes(quality)) v.quality = [...v.quality ?? [], quality];
}

const stamp = (v, at) => { if (at) v.time = at.toISOString(); };

function bloodPressure(r, source) {
  const flags = r.uint(1), unit = flags & 1 ? "kPa" : "mm[Hg]";
  const v = {code: "85354-9", method: "cuff", components: ["8480-6", "8462-4", "8478-0"].map((code) => r.number(code, r.sfloat(), 0, unit))};
  const vitals = [v];
  const at = flags & 2 ? r.time(source) : undefined;
  if (flags & 4) vitals.push({...r.number("8867-4", r.sfloat(), 0, "/min"), site: "pulse", method: "cuff"});
  if (flags & 8) r.uint(1); // the device's number of the user
  const status = flags & 16 ? r.uint(2) : 0;
  for (const x of vitals) {
    stamp(x, at);
    flag(x, status & (1 << 0 | 1 << 1 | 1 << 5), "questionable"); // moved, loose, misplaced
  }
  r.end();
  return vitals;
}

const sites = {1: "axilla", 2: "body", 3: "ear", 4: "finger", 5: "gastro-intestinal tract", 6: "mouth", 7: "rectum", 8: "toe", 9: "tympanum"};

function temperature(r, source) {
  const flags = r.uint(1);
  const v = r.number("8310-5", r.float(), 0, flags & 1 ? "[degF]" : "Cel");
  if (flags & 2) stamp(v, r.time(source));
  const site = flags & 4 ? sites[r.uint(1)] : undefined;
  if (site) v.site = site;
  r.end();
  return [v];
}

function saturation(r) { return [r.number("59408-5", r.sfloat(), 0, "%"), r.number("8889-8", r.sfloat(), 0, "/min")]; }

function oximeterSpot(r, source) {
  const flags = r.uint(1), vitals = saturation(r);
  if (flags & 1) {
    if (flags & 16) r.uint(7); // the device's clock is not set
    else {
      const at = r.time(source);
      for (const v of vitals) stamp(v, at);
    }
  }
  if (oximeterStatus(r, vitals, flags & 2, flags & 4) && !vitals[0].time) r.fail(withoutTime);
  if (flags & 8) r.sfloat(); // the amplitude of the pulse
  r.end();
  return vitals;
}

function oximeterContinuous(r) {
  const flags = r.uint(1), vitals = saturation(r);
  for (const pair of [1, 2]) if (flags & pair) { r.sfloat(); r.sfloat(); }
  oximeterStatus(r, vitals, flags & 4, flags & 8);
  if (flags & 16) r.sfloat();
  r.end();
  return vitals;
}

function oximeterStatus(r, vitals, measurement, device) {
  const m = measurement ? r.uint(2) : 0, d = device ? r.uint(3) : 0;
  const bits = (...list) => list.reduce((all, bit) => all | 1 << bit, 0);
  for (const v of vitals) {
    flag(v, m & bits(5), "busy");
    flag(v, m & bits(6), "early");
    flag(v, m & bits(7), "validated");
    flag(v, m & bits(12), "calibration");
    flag(v, m & bits(14) || d & bits(2, 3, 4, 5, 6, 7, 8, 10, 13), "questionable"); // signal, perfusion, pulse, interference, sensor displaced
    flag(v, m & bits(15) || d & bits(1, 11, 12, 14, 15), "invalid");                 // malfunction; sensor unconnected, unknown or disconnected
    if (m & bits(10, 11)) v.test = true;
    if (m & bits(13)) { // unavailable
      delete v.value;
      delete v.unit;
      v.absent = "temp-unknown";
    }
  }
  return m & bits(9); // it comes from the device's memory
}

// A heart rate without contact is none, with any number; a zero of a sensor that cannot tell is doubtful.
function heartRate(r) {
  const flags = r.uint(1), rate = r.uint(flags & 1 ? 2 : 1), tells = flags & 4;
  const v = r.number("8867-4", tells && !(flags & 2) ? undefined : {mantissa: rate, exponent: 0}, 0, "/min");
  flag(v, !tells && rate === 0, "questionable");
  if (flags & 8) r.uint(2); // energy
  if (flags & 16 && r.left % 2 === 0) r.at += r.left; // intervals between beats
  r.end();
  return [v];
}

function weight(r, source) {
  const flags = r.uint(1), raw = r.uint(2), pounds = flags & 1;
  let f = pounds ? {mantissa: raw, exponent: -2} : {mantissa: raw * 5, exponent: -3};
  if (raw === 0xFFFF) f = undefined;
  const vitals = [r.number("29463-7", f, 0, pounds ? "[lb_av]" : "kg")];
  const at = flags & 2 ? r.time(source) : undefined;
  if (flags & 4) r.uint(1);
  if (flags & 8) {
    vitals.push(r.number("39156-5", {mantissa: r.uint(2), exponent: -1}, 0, "kg/m2"), r.number("8302-2", {mantissa: r.uint(2), exponent: -1}, 0, pounds ? "[in_i]" : "cm"));
  }
  for (const v of vitals) stamp(v, at);
  r.end();
  return vitals;
}

// The site and kind of a glucose sample: LOINC codes in mass and moles, site, method.
const samples = {1: ["41653-7", "15074-8", "capillary"], 2: ["41653-7", "15074-8", "capillary", "plasma"], 3: ["2339-0", "15074-8", "vein"],
  4: ["2339-0", "15074-8", "vein", "plasma"], 5: ["2339-0", "15074-8", "artery"], 6: ["2339-0", "15074-8", "artery", "plasma"], 7: ["2339-0", "15074-8"],
  8: ["2339-0", "15074-8", undefined, "plasma"], 9: ["99504-3", "105272-9"]};
const controlSolution = 10, withoutTime = "is from the device's memory, without a time";

function glucose(r, source) {
  const flags = r.uint(1), sequence = r.uint(2);
  let at = r.time(source);
  if (flags & 1) {
    const offset = r.uint(2) << 16 >> 16;
    if (at) at = new Date(at.getTime() + offset * 60000);
  }
  const f = flags & 2 ? r.sfloat() : undefined, kind = flags & 2 ? r.uint(1) : 7;
  const status = flags & 8 ? r.uint(2) : 0;
  r.end();
  if ((kind & 15) === controlSolution) return [];
  if (!at) r.fail(withoutTime); // all come from the meter's memory: nobody knows how old this one is
  const [mass, moles, site, method] = samples[kind & 15] ?? samples[7];
  const v = flags & 4 ? r.number(moles, f, 3, "mmol/L") : r.number(mass, f, 5, "mg/dL");
  v.system = LOINC;
  const place = {1: "finger", 2: "alternate site", 3: "earlobe"}[kind >> 4] ?? site;
  if (place) v.site = place;
  if (method) v.method = method;
  stamp(v, at);
  offScale(v, status & 1 << 6, status & 1 << 5);
  flag(v, status & (1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10), "invalid");
  flag(v, status & 1 << 11, "questionable"); // the meter's clock
  name(v, "gls", source, sequence, at);
  return [v];
}

function offScale(v, below, above) {
  if (v.value === undefined) return;
  if (below) v.comparator = "<";
  else if (above) v.comparator = ">";
}

// name gives a record of a device's memory an ID, by which it is recognised when it is read again.
function name(v, kind, source, number, at) {
  if (source.device && source.device.length <= 30 && at) v.vital_id = `${kind}.${source.device}.${number}.${Math.floor(at.getTime() / 1000)}`;
}

function cgm(r, source) {
  const vitals = [];
  while (r.left > 0) {
    const size = r.view.getUint8(r.at);
    if (size < 6 || size > r.left) r.fail("has a record of a wrong length");
    vitals.push(cgmRecord(new Reader(new DataView(r.view.buffer, r.view.byteOffset + r.at + 1, size - 1), r.characteristic), source));
    r.at += size;
  }
  if (vitals.length === 0) r.fail("is cut short");
  return vitals;
}

function cgmRecord(r, source) {
  const flags = r.uint(1), v = r.number("99504-3", r.sfloat(), 0, "mg/dL"), offset = r.uint(2);
  v.system = LOINC;
  if (source.session) {
    stamp(v, new Date(source.session.getTime() + offset * 60000));
    name(v, "cgm", source, offset, source.session);
  }
  const [status, calibration, warning] = [1 << 7, 1 << 6, 1 << 5].map((bit) => flags & bit ? r.uint(1) : 0);
  for (const bit of [1, 2]) if (flags & bit) r.sfloat(); // trend, quality
  if (r.left === 2) r.uint(2);                             // a checksum
  r.end();
  // stopped; wrong sensor, malfunction, device fault; too warm, too cold
  flag(v, status & (1 << 0 | 1 << 2 | 1 << 3 | 1 << 5) || calibration & (1 << 4 | 1 << 5), "invalid");
  flag(v, calibration & 1 << 3, "questionable");
  offScale(v, warning & 1 << 6, warning & 1 << 7);
  return v;
}
