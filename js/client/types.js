// The objects of docs/protocol.md, section 9, as types. There is nothing to run here.

/** @typedef {{id: string, name?: string, role?: string}} Person */
/** @typedef {"error" | "temp-unknown" | "not-performed" | "unknown"} Absent why there is no value */
/** @typedef {{code: string, value?: string | number, unit?: string, absent?: Absent}} Component a value with its unit, or absent */

/**
 * One measurement. A value is the text of a decimal, as it came: "37.0". To be sent it may be a number as well.
 * @typedef {object} Vital
 * @property {string} patient
 * @property {string} code
 * @property {string} [system] left out: loinc
 * @property {string | number} [value]
 * @property {string} [unit] of UCUM
 * @property {"<" | ">"} [comparator]
 * @property {{system: string, code: string}} [coded]
 * @property {Component[]} [components]
 * @property {Absent} [absent]
 * @property {string[]} [quality]
 * @property {"final" | "corrected" | "entered-in-error"} [status]
 * @property {string} [replaces]
 * @property {string} [vital_id]
 * @property {string} [time]
 * @property {string} [received] set by the server
 * @property {string} [device]
 * @property {string} [site]
 * @property {string} [method]
 * @property {number} [every] seconds
 * @property {boolean} [test]
 */

/**
 * A number or code that a rule has looked at.
 * @typedef {object} SourceInput
 * @property {string} code
 * @property {string} [system]
 * @property {string | number} [value]
 * @property {string} [unit]
 * @property {{system: string, code: string}} [coded]
 * @property {string} [vital_id]
 * @property {number} [age_s] how old it was then
 */

/**
 * How a machine has understood an event.
 * @typedef {object} Recognition
 * @property {"speech" | "image" | "model"} kind
 * @property {string} model the recogniser with its version
 * @property {number} confidence its own measure, 0 to 1
 */

/**
 * The members of an alert to raise.
 * @typedef {object} NewAlert
 * @property {string} patient
 * @property {string} text
 * @property {"high" | "medium" | "low" | "info"} priority
 * @property {string} [key]
 * @property {string} [code]
 * @property {string} [system]
 * @property {"physiological" | "technical" | "advisory"} [kind]
 * @property {string} [onset]
 * @property {"staff" | "all" | "named"} [audience]
 * @property {string[]} [to]
 * @property {{rule?: string, limits?: string, value?: string | number, unit?: string, vital_id?: string, by?: string, inputs?: SourceInput[], recognition?: Recognition, next_due?: string, continuous?: boolean}} [source]
 * @property {boolean} [test]
 */

/** @typedef {{do: string, by: Person, at: string, until?: string, to?: string, reason?: string, source?: Recognition}} Answer */
/** @typedef {{state: "undefined" | "accepted" | "rejected", by?: Person, at?: string, until?: string, to?: string}} Responsibility `to`: the person or group to whom it is offered */
/** @typedef {{level: number, step: number, state: string, due?: string, told?: string[]}} Escalation */

/**
 * @typedef {object} AlertState
 * @property {string} alert_id
 * @property {string} key
 * @property {number} rev
 * @property {"present" | "over"} condition
 * @property {boolean} [latched]
 * @property {string} onset
 * @property {string} raised
 * @property {string} updated
 * @property {string} [ended] without it the alert is open
 * @property {Responsibility} responsibility
 * @property {Answer[]} [answers] the last 8
 * @property {number} [answer_count]
 * @property {Escalation} [escalation]
 * @property {{by: Person, at: string, reason?: string}} [closed]
 */
/** @typedef {NewAlert & AlertState} Alert */

/**
 * @typedef {object} Notice
 * @property {string} patient
 * @property {string} notice_id
 * @property {string} from
 * @property {string[]} [to]
 * @property {"staff" | "all" | "named"} [audience] left out: named
 * @property {string} text
 * @property {string} time
 * @property {string} [replies_to]
 */

/**
 * @typedef {object} Receipt
 * @property {string} patient
 * @property {string} [key]
 * @property {string} [alert_id]
 * @property {number} [level] left out: 0
 * @property {string} [notice_id]
 * @property {"delivered" | "presented" | "read"} stage
 * @property {Person} by
 * @property {string} at
 */

/**
 * @typedef {object} Access
 * @property {"revoked" | "suspended" | "restored" | "members" | "emergency" | "emergency_ended" | "discharged" | "pause" | "pause_ended"} kind
 * @property {string} principal
 * @property {string} [session]
 * @property {string[]} [patients]
 * @property {string} [group]
 * @property {string} [until]
 * @property {string} [reason]
 */

/**
 * A chunk of a live signal, such as a quarter of a second of an electrocardiogram.
 * @typedef {object} Wave
 * @property {string} patient
 * @property {string} code
 * @property {string} system
 * @property {string} [device]
 * @property {string} [site]
 * @property {string} unit of UCUM
 * @property {number} [factor] left out: 1
 * @property {number} [origin] left out: 0
 * @property {number} rate samples a second
 * @property {number} n counts the chunks of the signal: one that is missing was lost
 * @property {string} time of the first sample, by the device's clock
 * @property {string} data `samples` of waves.js reads it
 * @property {string} [received] set by the server
 * @property {boolean} [test]
 */

/**
 * The waves of a patient around the time of an alert. `history({patient, kinds: ["strip"], key})` gives it.
 * @typedef {object} Strip
 * @property {string} patient
 * @property {string} key
 * @property {string} alert_id
 * @property {string} raised
 * @property {Wave[]} waves piece by piece, without `patient`
 * @property {boolean} [dropped] there was not room for all signals
 * @property {boolean} [test]
 */

export {};
