// Small tools for elements on the screen.

export const $ = (id) => document.getElementById(id);

export function make(tag, props = {}, ...children) {
  const e = Object.assign(document.createElement(tag), props);
  e.append(...children);
  return e;
}

export const clock = (t) => new Date(t).toLocaleTimeString([], {hourCycle: "h23", hour: "2-digit", minute: "2-digit", second: "2-digit"});
export const signs = {high: "▲ High", medium: "◆ Medium", low: "● Low", info: "○ Info"};
export const human = (unit) => ({"{score}": "", "mm[Hg]": "mmHg", Cel: "°C", "[degF]": "°F"})[unit] ?? unit;
