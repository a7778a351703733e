// A Hub, Chromium, and pages with elements, for tests.
import {readFileSync} from "node:fs";
import {createRequire} from "node:module";
import {join} from "node:path";
import {after} from "node:test";
import {chromium} from "playwright-core";
import {here, openHub, token} from "../../client/test/hub.js";

export * from "../../client/test/hub.js";

const browser = await chromium.launch({executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", timeout: 120000,
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--autoplay-policy=user-gesture-required"]});
after(() => browser.close());

export const bell = {id: "bell", name: "Dr. Bell", role: "clinician", groups: ["ward"]};
export const viewer = {id: "wall", role: "viewer", groups: ["ward"]};
export const rosa = {id: "rosa", name: "Rosa", role: "patient", patients: ["p-1"]};
export const nurse = {id: "ada", name: "Ada", role: "clinician", groups: ["ward"]};
export const device = {id: "monitor", role: "device", patients: Array.from({length: 250}, (_, i) => `p-${i + 1}`)};

/** The elements of a ward. */
export const ward = `<div class="ward"><div class="bar"><cw-line></cw-line><cw-counts></cw-counts><cw-sound></cw-sound></div><div style="grid-area: banner"><cw-trouble></cw-trouble><cw-banner></cw-banner></div>
  <cw-alerts></cw-alerts><div class="tiles"><cw-patients></cw-patients></div></div>`;

/** A Hub with so many patients, and how to open a page with html. */
export async function openScreens(t, patients = 2) {
  const hub = await openHub(t, ["-files", join(here, "../..")]), ids = Array.from({length: patients}, (_, i) => `p-${i + 1}`);
  await hub.control({Members: {ward: ids}});
  let n = 0;
  const open = async (html, options = {}, context = {}) => {
    const {who = nurse, ...rest} = options, own = await browser.newContext({viewport: {width: 1440, height: 900}, ...context});
    t.after(() => own.close());
    own.setDefaultTimeout(Number(process.env.PATIENCE ?? 120000));
    const page = await own.newPage(), said = page.said = [];
    page.on("pageerror", (e) => said.push(String(e)));
    await page.goto(`${hub.http}/elements/test/page.html?${++n}#` + encodeURIComponent(JSON.stringify({token: token(who), html, ...rest})));
    await page.waitForFunction((n) => window.client?.state.name === "live" && watch.patients.size >= n && [...watch.patients.values()].every((p) => p.current), options.watch ? 1 : patients, {polling: 20});
    return page;
  };
  return {hub, ids, open};
}

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** The findings of axe. */
export async function violations(page) {
  await page.evaluate(axe);
  return page.evaluate(async () => (await axe.run(document, {rules: {"page-has-heading-one": {enabled: false}, region: {enabled: false}}})).violations
    .map((v) => `${v.id}: ${v.nodes.slice(0, 3).map((n) => n.target.flat().join(" ") + " " + n.failureSummary).join("; ")}`));
}

/** Keeps a picture where SCREENSHOTS says. */
export async function shoot(page, name) {
  if (process.env.SCREENSHOTS) await page.screenshot({path: join(process.env.SCREENSHOTS, name + ".png")});
}
