// Shows openapi.json: methods on the left, one of them on the right. Text of the description is only ever set as text.
"use strict";

const byId = (id) => document.getElementById(id);

// make builds an element from its attributes and children, which are elements or strings.
function make(tag, attributes, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
  e.append(...children);
  return e;
}

fetch("../openapi.json")
  .then((answer) => (answer.ok ? answer.json() : Promise.reject(new Error("HTTP " + answer.status))))
  .then(start)
  .catch((error) => { byId("about").textContent = "The description cannot be loaded: " + error.message; });

function start(api) {
  byId("about").textContent = api.info.description;
  const methods = Object.entries(api.paths).map(([path, item]) => ({ path, ...item.post }));
  const draw = () => {
    list(api, methods, byId("find").value.trim().toLowerCase());
    show(api, methods.find((m) => m.path === decodeURIComponent(location.hash.slice(1))));
  };
  byId("find").addEventListener("input", draw);
  addEventListener("hashchange", draw);
  draw();
}

function list(api, methods, wanted) {
  byId("list").replaceChildren();
  for (const service of [...new Set(methods.map((m) => m.tags[0]))]) {
    const found = methods.filter((m) => m.tags[0] === service && (!wanted || words(api, m).includes(wanted)));
    if (found.length === 0) continue;
    byId("list").append(make("h2", {}, service.split(".").pop()));
    for (const m of found) {
      const here = decodeURIComponent(location.hash.slice(1)) === m.path;
      byId("list").append(make("a", { href: "#" + m.path, ...(here ? { "aria-current": "page" } : {}) }, m.summary));
    }
  }
}

// words are what a method is found by: its name, what is said of it, and its fields.
function words(api, method) {
  const fields = [requestOf(method), responseOf(method)].flatMap((s) => Object.keys(resolve(api, s).properties || {}));
  return [method.summary, method.description, ...fields].join(" ").toLowerCase();
}

const firstSchema = (body) => Object.values((body && body.content) || {}).map((c) => c.schema)[0] || {};
const requestOf = (method) => firstSchema(method.requestBody);
const responseOf = (method) => firstSchema(method.responses["200"]);
const nameOf = (schema) => (schema.$ref || "").split("/").pop();
const resolve = (api, schema) => (schema.$ref ? api.components.schemas[nameOf(schema)] || {} : schema);

function show(api, method) {
  if (!method) return;
  const type = Object.keys(method.requestBody.content)[0];
  const parts = [make("h2", {}, method.summary), make("p", { class: "text" }, method.description || "")];
  if (type === "application/json") {
    parts.push(make("pre", {}, "curl --json '{}' " + location.origin + method.path));
  } else {
    parts.push(make("p", {}, "A stream of messages: ", make("code", {}, "POST " + method.path), ", " + type));
  }
  parts.push(make("h3", {}, "Request: " + nameOf(requestOf(method))), fields(api, requestOf(method)));
  parts.push(make("h3", {}, "Answer: " + nameOf(responseOf(method))), fields(api, responseOf(method)));
  byId("method").replaceChildren(...parts);
}

// fields lists those of a message; messages inside open when they are asked for, because some hold themselves.
function fields(api, schema) {
  const message = resolve(api, schema);
  const all = collect(api, message);
  if (all.length === 0) return make("p", {}, "No fields.");
  const out = make("dl", {});
  for (const [name, field] of all) {
    const inner = innerOf(api, field);
    const says = make("dd", { class: "text" }, field.description || resolve(api, field).description || "");
    if (inner) {
      const details = make("details", {}, make("summary", {}, nameOf(inner).split(".").pop()));
      details.addEventListener("toggle", () => { if (details.childElementCount === 1) details.append(fields(api, inner)); });
      says.append(details);
    }
    out.append(make("dt", {}, make("code", {}, name), " ", make("span", { class: "kind" }, kindOf(api, field))), says);
  }
  return out;
}

// collect is the fields of a message, those of alternatives too.
function collect(api, message) {
  const parts = [...(message.allOf || []), ...(message.oneOf || []), ...(message.anyOf || [])].map((s) => resolve(api, s));
  return [...Object.entries(message.properties || {}), ...parts.flatMap((s) => collect(api, s))];
}

// innerOf is the message that a field holds, alone, in a list or in a map.
function innerOf(api, field) {
  const candidates = [field, field.items, field.additionalProperties, ...(field.oneOf || []), ...(field.anyOf || []), ...(field.allOf || [])];
  return candidates.find((s) => s && s.$ref && collect(api, resolve(api, s)).length > 0);
}

function kindOf(api, field) {
  const of = resolve(api, field);
  if (of.enum) return "one of " + of.enum.join(", ");
  if (of.type === "array") return "list of " + (kindOf(api, of.items || {}) || nameOf(of.items || {}).split(".").pop());
  if (field.$ref) return nameOf(field).split(".").pop();
  const type = Array.isArray(of.type) ? of.type.join(" or ") : of.type || "";
  return type === "object" && of.additionalProperties ? "map" : [type, of.format].filter(Boolean).join(", ");
}
