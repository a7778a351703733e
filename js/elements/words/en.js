/** The words of the elements in English. `{x}` is replaced. Another language is a file with the same keys; words that it leaves out are shown in English. */
export default {
  "code.8867-4": "Heart rate", "code.8889-8": "Pulse", "code.59408-5": "Oxygen", "code.2708-6": "Oxygen", "code.9279-1": "Breathing", "code.85354-9": "Pressure",
  "code.8480-6": "Systolic", "code.8462-4": "Diastolic", "code.8478-0": "Mean pressure", "code.8310-5": "Temperature", "code.2339-0": "Glucose",
  "code.1104051000000101": "NEWS2", "code.feeling": "Feels",
  "symbol.8867-4": "HR", "symbol.8889-8": "Pulse", "symbol.59408-5": "SpO₂", "symbol.2708-6": "SpO₂", "symbol.9279-1": "RR", "symbol.85354-9": "BP", "symbol.8480-6": "BP sys",
  "symbol.8462-4": "BP dia", "symbol.8478-0": "MAP", "symbol.8310-5": "Temp", "symbol.2339-0": "Glucose", "symbol.1104051000000101": "NEWS2", "symbol.feeling": "Feels",
  "symbol.131330": "ECG II", "symbol.131331": "ECG V1", "symbol.150452": "Pleth",
  "coded.good": "Good", "coded.fair": "So-so", "coded.bad": "Unwell", "coded.pain": "In pain",
  "priority.high": "High", "priority.medium": "Medium", "priority.low": "Low", "priority.info": "Info", technical: "Technical", test: "TEST",
  "role.clinician": "clinicians", "role.patient": "patient", "role.viewer": "viewers", patient: "patient", you: "you",

  "line.connecting": "Connecting", "line.live": "Live", "line.quiet": "Quiet", "line.lost": "Lost", "line.failing": "Live", "line.ended": "Ended", updated: "updated {age} ago",
  "trouble.quiet": "Nothing for {age}. What you see may be old.", "trouble.lost": "The connection is lost. What you see is not current.",
  "trouble.connecting": "Connecting. Nothing is known yet.", "trouble.failing": "The server cannot store anything now. What you send has to wait.",
  notShown: "Not shown: {who}.", "notShown.forbidden": "you may not see it", "notShown.undecided": "your right cannot be checked now; asked again soon", "notShown.unavailable": "your access cannot be recorded now; asked again soon",
  "trouble.ended": "You are signed out here ({code}).", "trouble.try": "Next try in {age}.", "trouble.trying": "Trying now.", tryNow: "Try now",

  alerts: "Alerts", needs: "Needs somebody", mine: "Mine", others: "Others'", technicals: "Technical", none: "None", unknown: "Unknown: not current", more: "More", less: "Less",
  "new.one": "1 new", "new.many": "{n} new", rest: "{n} more", calm: "Nothing waits for anybody.", notCurrent: "not current", system: "carewire itself", bannerLabel: "Most urgent",
  overUnseen: "over, nobody has seen it", nobody: "Nobody has it", has: "{who} has it until {time}", youHave: "You have it until {time}", cannot: "{who} cannot", ended: "Over",
  next: "{who} in {age}", told: "told {who}", notTold: "nobody told yet", offered: "{who} offers it to you", offering: "offered to {who}", since: "since {time}",
  accept: "Accept", reject: "Reject", release: "Give back", assign: "Assign", handover: "Hand over", takeOver: "Take over", close: "Close", closeForce: "Close although present",
  to: "To", reason: "Reason", reasonNeeded: "Reason (needed)", send: "Send", cancel: "Cancel",
  "answer.sending": "sending…", "answer.waiting": "waiting for the line, until {time}", "answer.done": "done", "answer.expired": "not sent: too late. Try again",
  "answer.expiredSent": "no reply. It may have been carried out: look again", "answer.faster": "{who} was faster", "answer.changed": "it has changed: look again",
  "answer.ended": "it is over", "answer.refused": "not possible now", "answer.forbidden": "you may not", "answer.failed": "did not work ({code})",
  lookAgain: "It has just changed. Press again.",
  "from.speech": "by speech", "from.image": "from a picture", "from.model": "by a model", nextDue: "next measurement by {time}", continuous: "measure all the time",
  "did.accept": "accepted", "did.reject": "rejected", "did.release": "gave back", "did.assign": "assigned to {to}", "did.close": "closed", "did.handover": "offered to {to}",
  "heard.new": "New alert, {priority} priority: {text}. {who}.", "heard.many": "{n} new alerts. Most urgent: {text}. {who}.",

  noReading: "no reading", noSignal: "no signal", notValid: "not valid", old: "{age} old", questionable: "questionable", noScore: "no score",
  "mark.closed": "closed, still out", patients: "Patients", open: "Open {who}", pausedUntil: "alerts paused until {time} by {who}: {reason}",
  youHaveN: "You have {n} alerts.", handoverAll: "Hand over all I have", offeredN: "{n} offered to {who}. They are yours until each is accepted.",
  pause: "Pause alerts", unpause: "End the pause", minutes: "Minutes", pausedShort: "paused until {time}",
  score: "Score", inputs: "From",

  trend: "Trend", hours: "{n} h", loading: "Loading…", loadFailed: "Could not be loaded. Try again.", again: "Try again", nothing: "Nothing in this time", min: "Lowest", max: "Highest", last: "Last",
  wave: "Wave", waveNone: "No wave",
  strip: "Waves around the alert", stripNone: "No waves were kept with this alert.", stripSoon: "The waves around the alert come within seconds.", stripDropped: "There was no room for all signals.",

  history: "History of alerts", "event.raised": "raised, {priority}: {text}", "event.worse": "now {priority}: {text}", "event.over": "condition over", "event.again": "present again",
  "event.told": "told {who} (level {level})", "event.failed": "nobody was reached (level {level})", "event.ended": "ended", "event.closed": "closed by {who}: {reason}", "event.lost": "nobody has it any more",
  "stage.delivered": "delivered to {who}", "stage.presented": "shown to {who}", "stage.read": "read by {who}",

  call: "Call a nurse", calling: "Sending…", called: "The nurses have been called {time}.", coming: "{who} is coming.", callOff: "I am fine now",
  callDead: "This does not work now. Press the red button at your bed.", feel: "How do you feel?", shallICall: "Shall I call a nurse?", yes: "Yes", no: "No", thanks: "Thank you. Your nurses can see it.",
  callText: "Patient calls a nurse", callPain: "Patient is in pain and calls a nurse", callBad: "Patient feels unwell and calls a nurse",

  messages: "Messages", write: "Write", writeTo: "Write to {who}", message: "Message", reply: "Reply", read: "Read", readBy: "read by {who} {time}", unread: "not read yet", from: "{who} to {to}, {time}",
  noMessages: "No messages.", "message.sending": "sending…", "message.waiting": "waiting for the line; it is kept", "message.refused": "not sent ({code})", "message.lossy": "waiting for the line; do not close this page",

  soundOn: "Turn sound on", soundOff: "Turn sound off", "sound.off": "Sound off", "sound.on": "Sound on", "sound.paused": "Sound paused, {age}", soundPause: "Pause sound", soundNote: "Not a certified alarm sound.", "sound.blocked": "Sound is blocked by the browser",
  "count.high": "High", "count.medium": "Medium", "count.low": "Low", "count.technical": "Technical", "count.messages": "Messages", counts: "Not accepted",
  page: "Page {n} of {of}", bed: "Bed",
};
