// Custom elements on a client of carewire. README.md beside this file tells how they are used.
import {AlertsElement} from "./alerts.js";
import {BannerElement} from "./banner.js";
import {CallElement} from "./call.js";
import {CountsElement} from "./counts.js";
import {HandoverElement} from "./handover.js";
import {HistoryElement} from "./history.js";
import {HubElement} from "./hub.js";
import {LineElement, TroubleElement} from "./line.js";
import {MessagesElement} from "./messages.js";
import {News2Element} from "./news2.js";
import {NumberElement} from "./number.js";
import {PatientElement, PatientsElement} from "./patient.js";
import {PauseElement} from "./pause.js";
import {SoundElement} from "./sound.js";
import {StripElement} from "./strip.js";
import {TrendElement} from "./trend.js";
import {WallElement} from "./wall.js";
import {WaveElement} from "./wave.js";

export {createClient} from "@carewire/client";
export {useWords, Words} from "./words.js";
export {AlertsElement, BannerElement, CallElement, CountsElement, HandoverElement, HistoryElement, HubElement, LineElement, MessagesElement, News2Element, NumberElement, PatientElement, PatientsElement,
  PauseElement, SoundElement, StripElement, TrendElement, TroubleElement, WallElement, WaveElement};

/** All elements by the names under which they are defined. @type {Record<string, CustomElementConstructor>} */
export const all = {
  "cw-hub": HubElement, "cw-line": LineElement, "cw-trouble": TroubleElement, "cw-counts": CountsElement, "cw-sound": SoundElement, "cw-banner": BannerElement, "cw-alerts": AlertsElement,
  "cw-patient": PatientElement, "cw-patients": PatientsElement, "cw-number": NumberElement, "cw-news2": News2Element, "cw-trend": TrendElement, "cw-wave": WaveElement, "cw-strip": StripElement, "cw-history": HistoryElement,
  "cw-pause": PauseElement, "cw-handover": HandoverElement, "cw-call": CallElement, "cw-messages": MessagesElement, "cw-wall": WallElement,
};

for (const [name, element] of globalThis.customElements ? Object.entries(all) : []) if (!customElements.get(name)) customElements.define(name, element);
