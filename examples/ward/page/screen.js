// Small tools for what is on the screen.

export const $ = (id) => document.getElementById(id);

export function make(tag, props = {}, ...children) {
  const e = Object.assign(document.createElement(tag), props);
  e.append(...children);
  return e;
}

// text changes a text only if it is another one.
export const text = (e, s) => { if (e.textContent !== s) e.textContent = s; };

// parts returns what makes an element with parts: [name, tag], found later as e[name]. Their class is their name.
export const parts = (tag, className, ...names) => () => {
  const e = make(tag, {className});
  for (const [name, t] of names) e.append(e[name] = make(t ?? "p", {className: name}));
  return e;
};

// list shows [id, item] pairs in order, each in an element that stays while the item does: the focus stays too.
export function list(box, items, create, update) {
  const focused = document.activeElement, old = new Map([...box.children].map((e) => [e.dataset.id, e]));
  items.forEach(([id, item], i) => {
    const e = old.get(id) ?? create();
    e.dataset.id = id;
    old.delete(id);
    if (box.children[i] !== e) box.insertBefore(e, box.children[i] ?? null);
    update(e, item);
  });
  for (const e of old.values()) e.remove();
  if (focused !== document.activeElement && focused.isConnected) focused.focus();
}

// buttons shows a button for each of acts, an object of names and functions.
export function buttons(box, acts, of) {
  const names = Object.keys(acts);
  box.acts = acts;
  if (box.dataset.names === names.join()) return;
  box.dataset.names = names.join();
  box.replaceChildren(...names.map((n) => make("button", {textContent: n, className: n === "Accept" ? "main" : "",
    ariaLabel: `${n}: ${of}`, onclick: () => box.acts[n]()})));
}

// prompt asks for a text; undefined if it is called off.
export function prompt(title, label, yes, required) {
  $("ask-title").textContent = title;
  $("ask-label").textContent = label;
  $("ask-yes").textContent = yes;
  Object.assign($("ask-text"), {value: "", required});
  $("ask").returnValue = "";
  $("ask").showModal();
  return new Promise((resolve) => { $("ask").onclose = () => resolve($("ask").returnValue ? $("ask-text").value.trim() : undefined); });
}

export const clock = (t) => new Date(t).toLocaleTimeString([], {hourCycle: "h23", hour: "2-digit", minute: "2-digit", second: "2-digit"});
export const span = (s) => s < 60 ? Math.round(s) + " s" : s < 3600 ? Math.round(s / 60) + " min" : Math.round(s / 3600) + " h";
export const ago = (ms) => ms < 5000 ? "now" : span(ms / 1000) + " ago";
