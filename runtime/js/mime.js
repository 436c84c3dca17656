// MIME types by the MIME Sniffing standard: parsing, serializing, and the type of a message's Content-Type header.
"use strict";

const p = lethe.use("primordials");
const { trimmed } = lethe.use("headers");

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const QUOTABLE = /^[\t\x20-\x7e\x80-\xff]*$/;
const ESSENCE = /^([^/]+)\/([^/;]+?)[\t\n\r ]*(?:;([^]*))?$/;
// A parameter: its name up to "=" or ";", then a quoted string with whatever follows it, or plain text.
const PARAMETER = /[\t\n\r ]*([^;=]*)(?:=("(?:[^"\\]|\\[^])*(?:"|\\?$))?([^;]*))?(?:;|$)/y;

/** `{ essence, parameters }` with lower-case names (an array of pairs), or null. */
function parse(input) {
  const match = p.regExpExec(ESSENCE, trimmed(input));
  if (match === null) return null;
  if (p.regExpExec(TOKEN, match[1]) === null || p.regExpExec(TOKEN, match[2]) === null) return null;
  const essence = p.toLowerCase(`${match[1]}/${match[2]}`);
  return { essence, parameters: match[3] === undefined ? [] : parseParameters(match[3]) };
}

function parseParameters(text) {
  const parameters = [];
  PARAMETER.lastIndex = 0;
  while (PARAMETER.lastIndex < text.length) {
    const match = p.regExpExec(PARAMETER, text);
    if (match === null) break;
    const name = p.toLowerCase(match[1]);
    const value = match[2] === undefined ? trimmed(match[3] ?? "") : unquoted(match[2]);
    const isEmpty = match[2] === undefined && value === "";
    const isValid = p.regExpExec(TOKEN, name) !== null && p.regExpExec(QUOTABLE, value) !== null;
    if (!isEmpty && isValid && parameter(parameters, name) === null) parameters[parameters.length] = [name, value];
  }
  return parameters;
}

function unquoted(quoted) {
  let value = "";
  for (let i = 1; i < quoted.length && quoted[i] !== '"'; i++) {
    if (quoted[i] === "\\" && i + 1 < quoted.length) i++;
    value += quoted[i];
  }
  return value;
}

function parameter(parameters, name) {
  for (let i = 0; i < parameters.length; i++) if (parameters[i][0] === name) return parameters[i][1];
  return null;
}

function serialize({ essence, parameters }) {
  let text = essence;
  for (let i = 0; i < parameters.length; i++) {
    const value = parameters[i][1];
    text += `;${parameters[i][0]}=${p.regExpExec(TOKEN, value) === null ? quoted(value) : value}`;
  }
  return text;
}

function quoted(value) {
  let text = '"';
  for (let i = 0; i < value.length; i++) text += value[i] === '"' || value[i] === "\\" ? `\\${value[i]}` : value[i];
  return `${text}"`;
}

/** The values of a header that may have been sent several times: split at commas outside of quotes. */
function split(header) {
  const values = [];
  let start = 0;
  let inQuotes = false;
  for (let i = 0; i <= header.length; i++) {
    if (i === header.length || (header[i] === "," && !inQuotes)) {
      values[values.length] = p.stringSlice(header, start, i);
      start = i + 1;
    } else if (header[i] === '"') inQuotes = !inQuotes;
    else if (header[i] === "\\" && inQuotes) i++;
  }
  return values;
}

/** "Extract a MIME type" from a Content-Type header or null. */
function extract(header) {
  if (header === null) return null;
  let found = null;
  let charset = null;
  const values = split(header);
  for (let i = 0; i < values.length; i++) {
    const type = parse(values[i]);
    if (type === null || type.essence === "*/*") continue;
    const own = parameter(type.parameters, "charset");
    if (found === null || type.essence !== found.essence) charset = own;
    else if (own === null && charset !== null) type.parameters[type.parameters.length] = ["charset", charset];
    found = type;
  }
  return found;
}

/** The `type` of a Blob made of a message: its serialized MIME type, "" if it has none. */
function normalized(header) {
  const type = extract(header);
  return type === null ? "" : serialize(type);
}

return { parse, serialize, extract, normalized, parameter };
