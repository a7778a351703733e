// Small tools for elements on the screen.

/**
 * Makes an element.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, any>} [props] properties; `part` and names with "-" are attributes
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, props = {}, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name === "part" || name === "role" || name.includes("-")) e.setAttribute(name, value); else Object.assign(e, {[name]: value});
  }
  e.append(...children);
  return e;
}

/** Changes a text only if it is another one. @param {Element} e @param {string} s */
export function text(e, s) { if (e.textContent !== s) e.textContent = s; }

/** Changes an attribute only if it is another one; undefined and false take it away. @param {Element} e @param {string} name @param {string | boolean | undefined} value */
export function attr(e, name, value) {
  if (value === undefined || value === false) { if (e.hasAttribute(name)) e.removeAttribute(name); return; }
  const s = value === true ? "" : value;
  if (e.getAttribute(name) !== s) e.setAttribute(name, s);
}

/** Shows or hides an element. @param {HTMLElement} e @param {boolean} on */
export function show(e, on) { if (e.hidden === on) e.hidden = !on; }

/**
 * Puts a box's children in order, without touching those that are in their place.
 * @param {Element} box @param {Element[]} children
 */
export function arrange(box, children) {
  children.forEach((e, i) => { if (box.children[i] !== e) box.insertBefore(e, box.children[i] ?? null); });
  while (box.children.length > children.length) box.lastElementChild?.remove();
}

/** A button. @param {string} label @param {() => void} click @param {Record<string, any>} [props] */
export const button = (label, click, props = {}) => h("button", {type: "button", textContent: label, onclick: click, ...props});
