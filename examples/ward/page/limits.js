// The limits of one patient: how they stand, whose they are, and for clinicians a form to change them.
import {$, clock, make} from "./screen.js";

// showLimits opens the dialog. ask(method, path, body) asks the ward; signs are the priorities' texts.
export async function showLimits(p, mayChange, ask, signs, human) {
  $("limits-title").textContent = `Limits of ${p.name}`;
  $("limits-said").textContent = "";
  $("limits-list").replaceChildren();
  const load = async (open) => {
    const answer = await ask("POST", "limits", JSON.stringify({patient: p.id})).catch(() => undefined);
    if (!answer?.ok) return void ($("limits-said").textContent = "The limits cannot be had now. Try again.");
    $("limits-list").replaceChildren(...(await answer.json()).map((l) => one(l, l.rule === open)));
  };
  const one = (l, open) => {
    const unit = human(l.unit), numbers = l.levels.map((x) => `${signs[x.priority]} ${l.side} ${x.at}`).join(", ");
    const whose = !l.set ? "As usual" : `${l.levels.some((x) => x.at !== x.usual) ? "Set" : "Back to usual"} by ${l.by}, ${new Date(l.set).toLocaleDateString()} ${clock(l.set)}: ${l.reason}`;
    const box = make("details", {name: "limit", open}, make("summary", {}, make("b", {textContent: l.text}), ` ${numbers} ${unit}`, make("small", {textContent: whose})));
    box.dataset.rule = l.rule;
    if (mayChange) box.append(form(l, unit));
    return box;
  };
  const form = (l, unit) => {
    const inputs = l.levels.map((x) => make("input", {type: "number", step: "any", value: x.at, inputMode: "decimal"}));
    const reason = make("input", {maxLength: 200, className: "reason"}), wrong = make("p", {className: "wrong", role: "alert"});
    const send = async (numbers) => {
      wrong.textContent = "";
      const body = {patient: p.id, rule: l.rule, reason: reason.value.trim(), seen: l.set, ...numbers};
      const answer = await ask("PUT", "limits", JSON.stringify(body)).catch(() => undefined);
      if (!answer?.ok) return void (wrong.textContent = answer?.status === 403 ? "You may not do this." : answer?.status < 500 ? await answer.text() : "That was not saved. Try again.");
      $("limits-said").textContent = `Saved: ${l.text}. It counts within seconds.`;
      load(l.rule);
    };
    const e = make("form", {noValidate: true},
      ...l.levels.map((x, i) => make("label", {}, `${signs[x.priority]}, ${l.side} `, inputs[i], ` ${unit} (usual ${x.usual}, ${l.lowest} to ${l.most})`)),
      make("label", {}, "Why? (required) ", reason), wrong,
      make("div", {className: "buttons"}, make("button", {className: "main", textContent: "Save"}),
        make("button", {type: "button", textContent: "As usual", onclick: () => send({})})));
    e.onsubmit = (event) => {
      event.preventDefault();
      if (inputs.some((x) => x.value === "")) return void (wrong.textContent = "A limit must be a number."); // empty is not "as usual"
      send({at: Number(inputs[0].value), ...(inputs[1] ? {severe: Number(inputs[1].value)} : {})});
    };
    return e;
  };
  if (!$("limits").open) $("limits").showModal();
  await load();
}
