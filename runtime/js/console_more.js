// The rarer console methods: assert, count, dir, table, time, trace.
"use strict";

const p = lethe.use("primordials");
const idl = lethe.use("webidl");
const { inspect, formatAll } = lethe.use("inspect");
const { ops } = lethe;

// Labels of counters and timers that are kept.
const LABELS_MAX = 1000;
const ROWS_MAX = 1000;

const counts = new p.Map();
const timers = new p.Map();

function indent(text, indentation) {
  return indentation + lethe.use("inspect_shapes").indented(text, indentation);
}

function failedAssertion(data, print) {
  if (typeof data[0] === "string") data[0] = `Assertion failed: ${data[0]}`;
  else if (data.length === 0) data = ["Assertion failed"];
  else p.arraySplice(data, 0, 0, "Assertion failed:");
  print("error", data);
}

function remember(map, label, value) {
  if (p.mapGet(map, label) === undefined && p.mapSize(map) >= LABELS_MAX) return;
  p.mapSet(map, label, value);
}

function count(label, emit) {
  const name = idl.domString(label);
  const next = (p.mapGet(counts, name) ?? 0) + 1;
  remember(counts, name, next);
  emit("log", `${name}: ${next}`);
}

function countReset(label, emit) {
  const name = idl.domString(label);
  if (p.mapGet(counts, name) === undefined) emit("warn", `Count for '${name}' does not exist`);
  else p.mapSet(counts, name, 0);
}

function dir(item, options) {
  const { depth } = idl.dictionary(options, "console.dir");
  return inspect(item, depth === null ? Infinity : depth === undefined ? undefined : +depth);
}

function time(label, emit) {
  const name = idl.domString(label);
  if (p.mapGet(timers, name) !== undefined) emit("warn", `Timer '${name}' already exists`);
  else remember(timers, name, ops.now());
}

function elapsed(name, emit) {
  const start = p.mapGet(timers, name);
  if (start === undefined) {
    emit("warn", `Timer '${name}' does not exist`);
    return undefined;
  }
  return `${name}: ${p.floor(ops.now() - start)}ms`;
}

function timeLog(label, data, emit) {
  const text = elapsed(idl.domString(label), emit);
  if (text !== undefined) emit("log", data.length === 0 ? text : `${text} ${formatAll(data)}`);
}

function timeEnd(label, emit) {
  const name = idl.domString(label);
  const text = elapsed(name, emit);
  if (text === undefined) return;
  p.mapDelete(timers, name);
  emit("log", text);
}

function trace(data, caller) {
  const holder = {};
  p.captureStackTrace(holder, caller);
  const { stack } = holder;
  const frames = p.stringSlice(stack, p.stringIndexOf(stack, "\n"));
  const message = data.length === 0 ? "Trace" : `Trace: ${formatAll(data)}`;
  return ["%s", message + frames];
}

const INDEX = "(index)";
const VALUES = "Values";

/** The rows of `console.table`: `[label, value]` of arrays, maps, sets and objects. */
function rowsOf(data) {
  const rows = [];
  const add = (label, value) => {
    if (rows.length < ROWS_MAX) rows[rows.length] = [label, value];
  };
  if (isSized(p.mapSize, data)) {
    let i = 0;
    p.mapForEach(data, (value, key) => add(`${i++}`, { Key: key, Values: value }));
  } else if (isSized(p.setSize, data)) {
    let i = 0;
    p.setForEach(data, (value) => add(`${i++}`, value));
  } else {
    const keys = p.ownKeys(data);
    for (let i = 0; i < keys.length; i++) {
      const property = p.getOwnPropertyDescriptor(data, keys[i]);
      if (typeof keys[i] === "string" && property?.enumerable) add(keys[i], property.value);
    }
  }
  return rows;
}

function isSized(size, data) {
  try {
    size(data);
    return true;
  } catch {
    return false;
  }
}

/** A table with a frame; data that is not an object is printed as it is. */
function table(data, properties) {
  if (!idl.isObject(data)) return formatAll([data]);
  const only = properties === undefined ? undefined : idl.sequenceOf(properties, idl.domString, "console.table");
  const rows = rowsOf(data);
  const columns = [INDEX];
  const lines = [];
  let hasValues = false;
  for (let i = 0; i < rows.length; i++) {
    const value = rows[i][1];
    const cells = { __proto__: null, [INDEX]: rows[i][0] };
    if (idl.isObject(value)) {
      const keys = only ?? p.ownKeys(value);
      for (let j = 0; j < keys.length; j++) {
        const key = keys[j];
        const property = typeof key === "string" ? p.getOwnPropertyDescriptor(value, key) : undefined;
        if (property === undefined || !property.enumerable) continue;
        if (!p.arrayIncludes(columns, key)) columns[columns.length] = key;
        cells[key] = inspect(property.value, 0);
      }
    } else {
      hasValues = true;
      cells[VALUES] = inspect(value, 0);
    }
    lines[i] = cells;
  }
  if (hasValues && !p.arrayIncludes(columns, VALUES)) columns[columns.length] = VALUES;
  return drawTable(columns, lines);
}

function drawTable(columns, lines) {
  const widths = [];
  for (let c = 0; c < columns.length; c++) {
    widths[c] = columns[c].length + 2;
    for (let i = 0; i < lines.length; i++) widths[c] = p.max(widths[c], (lines[i][columns[c]] ?? "").length + 2);
  }
  const rule = (left, middle, right) => {
    const parts = [];
    for (let c = 0; c < columns.length; c++) parts[c] = p.stringRepeat("\u2500", widths[c]);
    return left + p.arrayJoin(parts, middle) + right;
  };
  const row = (cellOf) => {
    const parts = [];
    for (let c = 0; c < columns.length; c++) parts[c] = p.padEnd(` ${cellOf(columns[c]) ?? ""}`, widths[c]);
    return `\u2502${p.arrayJoin(parts, "\u2502")}\u2502`;
  };
  const text = [rule("\u250c", "\u252c", "\u2510"), row((column) => column), rule("\u251c", "\u253c", "\u2524")];
  for (let i = 0; i < lines.length; i++) text[text.length] = row((column) => lines[i][column]);
  text[text.length] = rule("\u2514", "\u2534", "\u2518");
  return p.arrayJoin(text, "\n");
}

return { indent, failedAssertion, count, countReset, dir, table, time, timeLog, timeEnd, trace };
