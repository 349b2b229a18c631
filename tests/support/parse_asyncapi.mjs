// Reads documents with AsyncAPI's own parser and its JSON schema; prints what they say of each.
// The parser resolves each channel in each operation, so it does not read *.large.json.
// node parse_asyncapi.mjs NODE_MODULES FILE...
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [modules, ...files] = process.argv.slice(2);
const require = createRequire(`${modules}/`);
const { Parser } = require("@asyncapi/parser");
const Ajv = require("ajv").default;
const schema = require("@asyncapi/specs/schemas/3.1.0-without-$id.json");

const validate = new Ajv({ strict: false, allErrors: true, validateFormats: false }).compile(schema);
const parser = new Parser();
const found = {};
for (const file of files) {
  const text = readFileSync(file, "utf8");
  const large = file.endsWith(".large.json");
  const { document, diagnostics } = large ? { diagnostics: [] } : await parser.parse(text);
  const said = diagnostics.map(({ code, path, message }) => `${code} ${path.join("/")}: ${message}`);
  const valid = validate(JSON.parse(text));
  found[file] = {
    parsed: document !== undefined,
    diagnostics: said,
    schema: valid ? [] : validate.errors.map(({ instancePath, message }) => `${instancePath} ${message}`),
    operations: document?.operations().all().length ?? 0,
    schemas: [...new Set(document?.components().schemas().all().map((each) => each.id()) ?? [])],
  };
}
console.log(JSON.stringify(found));
