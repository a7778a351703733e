/** The words of the elements in German. */
export default {
  "code.8867-4": "Herzfrequenz", "code.8889-8": "Puls", "code.59408-5": "Sauerstoff", "code.2708-6": "Sauerstoff", "code.9279-1": "Atmung", "code.85354-9": "Blutdruck",
  "code.8480-6": "Systolisch", "code.8462-4": "Diastolisch", "code.8478-0": "Mitteldruck", "code.8310-5": "Temperatur", "code.2339-0": "Glukose",
  "code.1104051000000101": "NEWS2", "code.feeling": "Befinden",
  "symbol.8867-4": "HF", "symbol.8889-8": "Puls", "symbol.59408-5": "SpO₂", "symbol.2708-6": "SpO₂", "symbol.9279-1": "AF", "symbol.85354-9": "RR", "symbol.8480-6": "RR sys",
  "symbol.8462-4": "RR dia", "symbol.8478-0": "MAD", "symbol.8310-5": "Temp", "symbol.2339-0": "Glukose", "symbol.1104051000000101": "NEWS2", "symbol.feeling": "Befinden",
  "symbol.131330": "ECG II", "symbol.131331": "ECG V1", "symbol.150452": "Pleth",
  "coded.good": "Gut", "coded.fair": "Es geht", "coded.bad": "Unwohl", "coded.pain": "Schmerzen",
  "priority.high": "Hoch", "priority.medium": "Mittel", "priority.low": "Niedrig", "priority.info": "Info", technical: "Technisch", test: "TEST",
  "role.clinician": "Klinikpersonal", "role.patient": "Patient", "role.viewer": "Zuschauer", patient: "Patient", you: "Sie",

  "line.connecting": "Verbinde", "line.live": "Live", "line.quiet": "Still", "line.lost": "Getrennt", "line.failing": "Live", "line.ended": "Beendet", updated: "vor {age} erneuert",
  "trouble.quiet": "Seit {age} nichts. Was Sie sehen, kann veraltet sein.", "trouble.lost": "Die Verbindung ist unterbrochen. Was Sie sehen, ist nicht aktuell.",
  "trouble.connecting": "Verbindung wird aufgebaut. Noch ist nichts bekannt.", "trouble.failing": "Der Server kann gerade nichts speichern. Was Sie senden, muss warten.",
  notShown: "Nicht gezeigt: {who}.", "notShown.forbidden": "das dürfen Sie nicht sehen", "notShown.undecided": "Ihr Recht kann gerade nicht geprüft werden; wird bald wieder gefragt", "notShown.unavailable": "Ihr Zugriff kann gerade nicht aufgezeichnet werden; wird bald wieder gefragt",
  "trouble.ended": "Sie sind hier abgemeldet ({code}).", "trouble.try": "Nächster Versuch in {age}.", "trouble.trying": "Versuch läuft.", tryNow: "Jetzt versuchen",

  alerts: "Alarme", needs: "Braucht jemanden", mine: "Meine", others: "Andere", technicals: "Technisch", none: "Keine", unknown: "Unbekannt: nicht aktuell", more: "Mehr", less: "Weniger",
  "new.one": "1 neuer", "new.many": "{n} neue", rest: "{n} weitere", calm: "Nichts wartet auf jemanden.", notCurrent: "nicht aktuell", system: "carewire selbst", bannerLabel: "Am dringendsten",
  overUnseen: "vorbei, niemand hat es gesehen", nobody: "Niemand hat es", has: "{who} hat es bis {time}", youHave: "Sie haben es bis {time}", cannot: "{who} kann nicht", ended: "Vorbei",
  next: "{who} in {age}", told: "gerufen: {who}", notTold: "noch niemand gerufen", offered: "{who} bietet es Ihnen an", offering: "angeboten: {who}", since: "seit {time}",
  accept: "Übernehmen", reject: "Ablehnen", release: "Zurückgeben", assign: "Zuweisen", handover: "Übergeben", takeOver: "An sich nehmen", close: "Schließen", closeForce: "Trotzdem schließen",
  to: "An", reason: "Grund", reasonNeeded: "Grund (nötig)", send: "Senden", cancel: "Abbrechen",
  "answer.sending": "wird gesendet…", "answer.waiting": "wartet auf die Leitung, bis {time}", "answer.done": "erledigt", "answer.expired": "nicht gesendet: zu spät. Noch einmal versuchen",
  "answer.expiredSent": "keine Antwort. Es kann ausgeführt sein: noch einmal hinsehen", "answer.faster": "{who} war schneller", "answer.changed": "es hat sich geändert: noch einmal hinsehen",
  "answer.ended": "es ist vorbei", "answer.refused": "jetzt nicht möglich", "answer.forbidden": "das dürfen Sie nicht", "answer.failed": "ging nicht ({code})",
  lookAgain: "Es hat sich gerade geändert. Noch einmal drücken.",
  "from.speech": "durch Sprache", "from.image": "aus einem Bild", "from.model": "durch ein Modell", nextDue: "nächste Messung bis {time}", continuous: "ständig messen",
  "did.accept": "hat übernommen", "did.reject": "hat abgelehnt", "did.release": "hat zurückgegeben", "did.assign": "hat {to} zugewiesen", "did.close": "hat geschlossen", "did.handover": "hat {to} angeboten",
  "heard.new": "Neuer Alarm, Priorität {priority}: {text}. {who}.", "heard.many": "{n} neue Alarme. Am dringendsten: {text}. {who}.",

  noReading: "kein Wert", noSignal: "kein Signal", notValid: "ungültig", old: "{age} alt", questionable: "fraglich", noScore: "kein Score",
  "mark.closed": "geschlossen, noch außerhalb", patients: "Patienten", open: "{who} öffnen", pausedUntil: "Alarme pausiert bis {time} von {who}: {reason}",
  youHaveN: "Sie haben {n} Alarme.", handoverAll: "Alle meine übergeben", offeredN: "{n} angeboten: {who}. Sie bleiben Ihre, bis jeder übernommen ist.",
  pause: "Alarme pausieren", unpause: "Pause beenden", minutes: "Minuten", pausedShort: "pausiert bis {time}",
  score: "Score", inputs: "Aus",

  trend: "Verlauf", hours: "{n} h", loading: "Wird geladen…", loadFailed: "Konnte nicht geladen werden. Noch einmal versuchen.", again: "Noch einmal", nothing: "Nichts in dieser Zeit", min: "Tiefster", max: "Höchster", last: "Letzter",
  wave: "Kurve", waveNone: "Keine Kurve",
  strip: "Kurven zum Alarm", stripNone: "Zu diesem Alarm sind keine Kurven aufgezeichnet.", stripSoon: "Die Kurven zum Alarm kommen in wenigen Sekunden.", stripDropped: "Nicht alle Signale hatten Platz.",

  history: "Verlauf der Alarme", "event.raised": "ausgelöst, {priority}: {text}", "event.worse": "nun {priority}: {text}", "event.over": "Zustand vorbei", "event.again": "wieder da",
  "event.told": "gerufen: {who} (Stufe {level})", "event.failed": "niemand erreicht (Stufe {level})", "event.ended": "beendet", "event.closed": "geschlossen von {who}: {reason}", "event.lost": "niemand hat es mehr",
  "stage.delivered": "zugestellt an {who}", "stage.presented": "gezeigt an {who}", "stage.read": "gelesen von {who}",

  call: "Pflegekraft rufen", calling: "Wird gesendet…", called: "Die Pflege ist gerufen, {time}.", coming: "{who} kommt.", callOff: "Mir geht es wieder gut",
  callDead: "Das geht gerade nicht. Drücken Sie den roten Knopf am Bett.", feel: "Wie geht es Ihnen?", shallICall: "Soll ich eine Pflegekraft rufen?", yes: "Ja", no: "Nein", thanks: "Danke. Ihre Pflegekräfte sehen es.",
  callText: "Patient ruft eine Pflegekraft", callPain: "Patient hat Schmerzen und ruft eine Pflegekraft", callBad: "Patient fühlt sich unwohl und ruft eine Pflegekraft",

  messages: "Nachrichten", write: "Schreiben", writeTo: "An {who} schreiben", message: "Nachricht", reply: "Antworten", read: "Gelesen", readBy: "gelesen von {who} {time}", unread: "noch nicht gelesen", from: "{who} an {to}, {time}",
  noMessages: "Keine Nachrichten.", "message.sending": "wird gesendet…", "message.waiting": "wartet auf die Leitung; sie ist aufgehoben", "message.refused": "nicht gesendet ({code})", "message.lossy": "wartet auf die Leitung; Seite nicht schließen",

  soundOn: "Ton einschalten", soundOff: "Ton ausschalten", "sound.off": "Ton aus", "sound.on": "Ton an", "sound.paused": "Ton pausiert, {age}", soundPause: "Ton pausieren", soundNote: "Kein zugelassener Alarmton.", "sound.blocked": "Der Browser sperrt den Ton",
  "count.high": "Hoch", "count.medium": "Mittel", "count.low": "Niedrig", "count.technical": "Technisch", "count.messages": "Nachrichten", counts: "Nicht übernommen",
  page: "Seite {n} von {of}", bed: "Bett",
};
