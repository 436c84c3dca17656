// Values as text for console and logs, in the style of node's util.inspect. Getters and proxy traps of a worker never
// run; size is bounded by depth, items per collection, characters per string and a budget for the whole text.
"use strict";

const p = lethe.use("primordials");
const idl = lethe.use("webidl");
const { ops } = lethe;

const DEPTH = 2;
const ITEMS_MAX = 100;
const STRING_CHARS_MAX = 10000;
const BUDGET_CHARS = 64 * 1024;
const LINE_CHARS = 76;
const IDENTIFIER = /^[a-zA-Z_$][a-zA-Z0-9_$]*$/;

/** `value` as text, nested objects to `depth` levels. */
function inspect(value, depth = DEPTH) {
  const context = { depth, budget: BUDGET_CHARS, ancestors: [], circular: null };
  return formatValue(context, value, 0);
}

/** Like `inspect`, but a string is itself: how console prints one argument. */
function format(value) {
  return typeof value === "string" ? value : inspect(value);
}

/** All arguments of a console call, with %-formats in the first. */
function formatAll(args) {
  if (args.length === 0) return "";
  let text;
  let next = 1;
  if (typeof args[0] === "string" && args.length > 1) {
    const formatted = formatTemplate(args[0], args);
    text = formatted.text;
    next = formatted.next;
  } else {
    text = format(args[0]);
  }
  for (; next < args.length; next++) text += ` ${format(args[next])}`;
  return text;
}

function formatTemplate(template, args) {
  let text = "";
  let next = 1;
  let start = 0;
  for (let at; (at = p.stringIndexOf(template, "%", start)) !== -1 && at + 1 < template.length;) {
    const kind = template[at + 1];
    text += p.stringSlice(template, start, at);
    start = at + 2;
    if (kind === "%") text += "%";
    else if (next < args.length && p.stringIndexOf("sdifjoOc", kind) !== -1) text += substitute(kind, args[next++]);
    else text += `%${kind}`;
  }
  return { text: text + p.stringSlice(template, start), next };
}

function substitute(kind, value) {
  switch (kind) {
    case "s":
      return typeof value === "string" ? value : (ownText(value) ?? inspect(value, 0));
    case "d":
    case "i":
    case "f":
      if (typeof value === "bigint") return `${value}n`;
      if (typeof value === "symbol" || idl.isObject(value)) return "NaN";
      return inspect(
        kind === "d" ? p.Number(value) : kind === "i" ? p.trunc(p.parseFloat(value)) : p.parseFloat(value),
      );
    case "j":
      return toJson(value);
    case "o":
      return inspect(value, 4);
    case "O":
      return inspect(value);
    default:
      return "";
  }
}

/** What a `toString` that the worker wrote gives; undefined for a value that has none. */
function ownText(value) {
  if (!idl.isObject(value) || typeof value === "function" || ops.isError(value)) return undefined;
  for (let at = value; at !== null; at = p.getPrototypeOf(at)) {
    if (ops.proxyTarget(at) !== undefined) return undefined;
    const property = p.getOwnPropertyDescriptor(at, "toString");
    if (property === undefined) continue;
    const method = property.value;
    if (typeof method !== "function" || p.stringIndexOf(p.functionToString(method), "[native code]") !== -1)
      return undefined;
    try {
      return `${p.apply(method, value, [])}`;
    } catch {
      return undefined;
    }
  }
  return undefined;
}

function toJson(value) {
  try {
    return `${p.jsonStringify(value)}`;
  } catch {
    return "[Circular]";
  }
}

function formatValue(context, value, level) {
  const text = idl.isObject(value) ? formatObject(context, value, level) : formatPrimitive(value);
  context.budget -= text.length;
  return text;
}

function formatPrimitive(value) {
  switch (typeof value) {
    case "string":
      return quote(value);
    case "number":
      return value === 0 && 1 / value < 0 ? "-0" : `${value}`;
    case "bigint":
      return `${value}n`;
    case "symbol":
      return p.symbolToString(value);
    default:
      return `${value}`;
  }
}

function quote(value) {
  const more = value.length - STRING_CHARS_MAX;
  const text = more > 0 ? p.stringSlice(value, 0, STRING_CHARS_MAX) : value;
  const has = (mark) => p.stringIndexOf(text, mark) !== -1;
  const mark = !has("'") ? "'" : !has('"') ? '"' : !has("`") && !has("${") ? "`" : "'";
  let result = mark;
  for (let i = 0; i < text.length; i++) {
    const code = p.charCodeAt(text, i);
    if (text[i] === mark || code === 0x5c) result += `\\${text[i]}`;
    else if (code === 10) result += "\\n";
    else if (code === 13) result += "\\r";
    else if (code === 9) result += "\\t";
    else if (code < 32 || code === 127) result += `\\x${code < 16 ? "0" : ""}${hex(code)}`;
    else if (code >= 0xd800 && code <= 0xdfff && !isPaired(text, i)) result += `\\u${hex(code)}`;
    else result += text[i];
  }
  return more > 0 ? `${result}${mark}... ${more} more characters` : result + mark;
}

function isPaired(text, i) {
  const code = p.charCodeAt(text, i);
  const other = p.charCodeAt(text, code < 0xdc00 ? i + 1 : i - 1);
  return code < 0xdc00 ? other >= 0xdc00 && other <= 0xdfff : other >= 0xd800 && other <= 0xdbff;
}

const DIGITS = "0123456789ABCDEF";
function hex(code) {
  return code < 16 ? DIGITS[code] : hex(p.floor(code / 16)) + DIGITS[code % 16];
}

function formatObject(context, object, level) {
  const target = ops.proxyTarget(object);
  if (target !== undefined) return target === null ? "<Revoked Proxy>" : formatValue(context, target, level);
  if (p.arrayIncludes(context.ancestors, object)) {
    context.circular ??= [];
    if (!p.arrayIncludes(context.circular, object)) p.arrayPush(context.circular, object);
    return `[Circular *${p.arrayIndexOf(context.circular, object) + 1}]`;
  }
  p.arrayPush(context.ancestors, object);
  const text = formatNew(context, object, level);
  context.ancestors.length--;
  const at = context.circular === null ? -1 : p.arrayIndexOf(context.circular, object);
  return at === -1 ? text : `<ref *${at + 1}> ${text}`;
}

function formatNew(context, object, level) {
  const name = className(object);
  const shape = lethe.use("inspect_shapes").shapeOf(object, name);
  if (level > context.depth || context.budget <= 0) {
    return shape.base !== "" && shape.items === null
      ? shape.base
      : `[${name === null ? "Object: null prototype" : name}]`;
  }
  const parts = [];
  if (shape.items !== null) addItems(context, parts, shape, level);
  addProperties(context, parts, object, shape, level);
  const { base, prefix, open, close } = shape;
  const self = level === 0 ? base : lethe.use("inspect_shapes").indented(base, p.stringRepeat("  ", level));
  if (parts.length === 0) return base !== "" ? self : `${prefix}${open}${close}`;
  const head = base === "" ? `${prefix}${open}` : `${self} ${open}`;
  return wrapLines(head, parts, close, level, shape.columns);
}

function addItems(context, parts, shape, level) {
  const { items, count } = shape;
  for (let i = 0; i < items.length; i++) {
    const item = items[i];
    if (item.text !== undefined) parts[parts.length] = item.text;
    else if (item.pair) {
      const key = item.label ?? formatValue(context, item.key, level + 1);
      parts[parts.length] =
        `${key}${item.label === undefined ? " => " : ": "}${formatValue(context, item.value, level + 1)}`;
    } else parts[parts.length] = formatValue(context, item.value, level + 1);
    if (context.budget <= 0) break;
  }
  if (count > parts.length) {
    const more = count - parts.length;
    parts[parts.length] = `... ${more} more item${more === 1 ? "" : "s"}`;
  }
}

function addProperties(context, parts, object, shape, level) {
  const keys = p.ownKeys(object);
  let shown = 0;
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i];
    if (shape.skips(key)) continue;
    const property = p.getOwnPropertyDescriptor(object, key);
    if (property === undefined || (!property.enumerable && !shape.shows(key))) continue;
    if (shown === ITEMS_MAX || context.budget <= 0) {
      parts[parts.length] = "...";
      return;
    }
    shown++;
    const label = property.enumerable ? keyText(key) : `[${keyText(key)}]`;
    parts[parts.length] = `${label}: ${formatProperty(context, property, level)}`;
  }
}

function keyText(key) {
  if (typeof key === "symbol") return `[${p.symbolToString(key)}]`;
  return p.regExpExec(IDENTIFIER, key) === null ? quote(key) : key;
}

function formatProperty(context, property, level) {
  if (property.get !== undefined) return property.set === undefined ? "[Getter]" : "[Getter/Setter]";
  if (property.set !== undefined) return "[Setter]";
  return formatValue(context, property.value, level + 1);
}

/** One line if it fits, else one part per line (or columns, for long lists of short items). */
function wrapLines(open, parts, close, level, columns) {
  const indentation = p.stringRepeat("  ", level);
  let length = open.length + parts.length + indentation.length;
  let broken = false;
  for (let i = 0; i < parts.length; i++) {
    length += parts[i].length + 1;
    broken ||= p.stringIndexOf(parts[i], "\n") !== -1;
  }
  if (!broken && length <= LINE_CHARS && (parts.length <= 6 || !columns)) {
    return `${open} ${p.arrayJoin(parts, ", ")} ${close}`;
  }
  const lines = columns && !broken && parts.length > 6 ? inColumns(parts, indentation.length) : parts;
  return `${open}\n${indentation}  ${p.arrayJoin(lines, `,\n${indentation}  `)}\n${indentation}${close}`;
}

function inColumns(parts, indentation) {
  const last = parts[parts.length - 1];
  const rest = p.stringStartsWith(last, "... ") ? last : undefined;
  const count = rest === undefined ? parts.length : parts.length - 1;
  let width = 0;
  for (let i = 0; i < count; i++) width = p.max(width, parts[i].length);
  const perLine = p.max(1, p.min(16, p.floor((LINE_CHARS - indentation) / (width + 2))));
  const lines = [];
  for (let i = 0; i < count; i += perLine) {
    const row = [];
    for (let j = i; j < p.min(i + perLine, count); j++) {
      row[row.length] = j === count - 1 || j === i + perLine - 1 ? parts[j] : p.padEnd(`${parts[j]},`, width + 1);
    }
    lines[lines.length] = p.arrayJoin(row, " ");
  }
  if (rest !== undefined) lines[lines.length] = rest;
  return lines;
}

/** The name of the class an object is of; null without a prototype. */
function className(object) {
  for (let proto = object; proto !== null; proto = p.getPrototypeOf(proto)) {
    if (ops.proxyTarget(proto) !== undefined) return "Object";
    const property = p.getOwnPropertyDescriptor(proto, "constructor");
    if (
      property !== undefined &&
      typeof property.value === "function" &&
      ops.proxyTarget(property.value) === undefined
    ) {
      const name = p.getOwnPropertyDescriptor(property.value, "name");
      if (typeof name?.value === "string" && name.value !== "") return name.value;
    }
  }
  return null;
}

/** The first line of a thrown value: `TypeError: text`. */
function firstLine(error) {
  const text = format(error);
  const end = p.stringIndexOf(text, "\n");
  return end === -1 ? text : p.stringSlice(text, 0, end);
}

return { inspect, format, formatAll, firstLine, quote, ITEMS_MAX };
