// The API's description, read from openapi.json and shown without any library.

import { $ } from "./dom.js";

const api = $("api");

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** An example of a request body: the schema's own, or one made of its types. */
function example(schema, schemas) {
  if (!schema) return null;
  if (schema.$ref) return example(schemas[schema.$ref.split("/").at(-1)], schemas);
  if (schema.examples) return schema.examples[0];
  if (schema.type !== "object") return schema.type ?? "any";
  return Object.fromEntries(Object.entries(schema.properties ?? {}).map(([name, inner]) => [name, example(inner, schemas)]));
}

function curl(method, path, body) {
  const lines = [`curl -X ${method.toUpperCase()} ${location.origin}${path}`];
  if (body) lines.push(`  -H 'Content-Type: application/json'`, `  -d '${JSON.stringify(body)}'`);
  return lines.join(" \\\n");
}

function operation(method, path, described, schemas) {
  const schema = described.requestBody?.content["application/json"]?.schema;
  const body = schema ? example(schema, schemas) : null;
  const rows = Object.entries(described.responses).map(([code, { description }]) =>
    element("tr", {}, element("td", { textContent: code }), element("td", { textContent: description })),
  );
  return element(
    "details",
    { className: "card" },
    element(
      "summary",
      {},
      element("span", { className: "method", textContent: method.toUpperCase() }),
      element("code", { textContent: path }),
      element("span", { className: "about", textContent: described.description ?? described.summary ?? "" }),
    ),
    ...(body ? [element("h3", { textContent: "Body" }), element("pre", { tabIndex: 0, textContent: JSON.stringify(body, null, 2) })] : []),
    element("h3", { textContent: "Try it" }),
    element("pre", { tabIndex: 0, textContent: curl(method, path, body) }),
    element("h3", { textContent: "Answers" }),
    element("table", {}, element("tbody", {}, ...rows)),
  );
}

const described = await fetch("openapi.json").then((response) => response.json());
const groups = new Map();
for (const [path, operations] of Object.entries(described.paths)) {
  for (const [method, entry] of Object.entries(operations)) {
    const tag = entry.tags?.[0] ?? "operation";
    groups.set(tag, [...(groups.get(tag) ?? []), operation(method, path, entry, described.components.schemas)]);
  }
}
api.replaceChildren(...[...groups].flatMap(([tag, entries]) => [element("h2", { textContent: tag }), ...entries]));
