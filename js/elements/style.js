// The style of all elements. A page changes it by custom properties and ::part.

/** @type {Map<string, CSSStyleSheet>} */
const sheets = new Map();

/** A stylesheet, made once. @param {string} css */
export function sheet(css) {
  let s = sheets.get(css);
  if (!s) {
    s = new CSSStyleSheet();
    s.replaceSync(css);
    sheets.set(css, s);
  }
  return s;
}

// light-dark() follows color-scheme, which a page sets.
export const base = `
:host {
  --ink: var(--cw-ink, light-dark(#14232b, #e4edf0)); --soft: var(--cw-soft, light-dark(#4c5d66, #a9bac2)); --card: var(--cw-card, light-dark(#fff, #18242b));
  --ground: var(--cw-ground, light-dark(#eef2f4, #0f181d)); --edge: var(--cw-edge, light-dark(#c9d4d9, #3a4c56)); --accent: var(--cw-accent, light-dark(#0b6b74, #58bcc6));
  --on-accent: var(--cw-on-accent, light-dark(#fff, #07262a));
  --high: var(--cw-high, light-dark(#b3141e, #ff5c5c)); --on-high: var(--cw-on-high, light-dark(#fff, #230000));
  --medium: var(--cw-medium, #ffd23f); --on-medium: var(--cw-on-medium, #241c00);
  --low: var(--cw-low, #5fd4e6); --on-low: var(--cw-on-low, #00222a);
  --good: var(--cw-good, light-dark(#136b3b, #6fd39b)); --warn: var(--cw-warn, light-dark(#7a4b00, #ffc86b));
  display: block; box-sizing: border-box; color: var(--ink); font: var(--cw-font, 1rem/1.35 system-ui, "Segoe UI", Roboto, "Noto Sans", sans-serif);
  font-variant-numeric: tabular-nums; text-align: start;
}
:host([hidden]), [hidden] { display: none !important; }
*, *::before, *::after { box-sizing: border-box; }
h2, h3, p, ul, dl, dd { margin: 0; padding: 0; }
h2 { font-size: 1rem; } h3 { font-size: 1rem; }
ul { list-style: none; }
button, input, textarea, select { font: inherit; color: inherit; }
button { min-height: 3rem; min-width: 3rem; padding: .3rem .8rem; border: 1px solid var(--edge); border-radius: .5rem; background: var(--card); color: var(--ink); cursor: pointer; font-weight: 550; }
button:hover { border-color: var(--accent); }
button.main { background: var(--accent); border-color: var(--accent); color: var(--on-accent); }
button:disabled { color: var(--soft); cursor: default; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
input, textarea, select { width: 100%; min-height: 3rem; padding: .5rem .7rem; border: 1px solid var(--edge); border-radius: .5rem; background: var(--card); }
label { display: block; font-size: .9rem; color: var(--soft); }
.soft { color: var(--soft); } .small { font-size: .9rem; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.buttons { display: flex; flex-wrap: wrap; gap: 1rem; align-items: center; }
.badge { display: inline-flex; align-items: center; gap: .3em; padding: .05rem .5rem; border-radius: .4rem; border: 1px solid currentColor; font-size: .9rem; font-weight: 700; white-space: nowrap; }
.high { --tone: var(--high); --on-tone: var(--on-high); } .medium { --tone: var(--medium); --on-tone: var(--on-medium); }
.low { --tone: var(--low); --on-tone: var(--on-low); } .info { --tone: var(--card); --on-tone: var(--ink); }
.filled { background: var(--tone); color: var(--on-tone); border-color: var(--tone); }
bdi { unicode-bidi: isolate; }
@media (prefers-reduced-motion: no-preference) {
  .untaken.high .frame { animation: frame .5s steps(2, jump-none) infinite; } .untaken.medium .frame { animation: frame 1.6s steps(2, jump-none) infinite; }
  @keyframes frame { from { outline-color: var(--tone); } to { outline-color: transparent; } }
}
.frame { position: absolute; inset: 0; border-radius: inherit; outline: 4px solid transparent; outline-offset: -4px; pointer-events: none; }
.untaken > .frame { outline-color: var(--tone); }
@media (forced-colors: active) {
  .frame { outline-color: transparent !important; animation: none !important; } .untaken > .frame { outline: 3px solid Highlight !important; }
  .filled { forced-color-adjust: none; }
}
`;
