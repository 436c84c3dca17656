// What each kind of object looks like to `inspect`:
//
//   { base, prefix, open, close, items, count, columns, skips(key), shows(key) }
//   base     text that stands for the object itself (an error's stack, a function's name), "" if there is none
//   items    entries before the properties: { value }, { pair, key, value, label } or { text }; null for plain objects
//   count    how many entries there are in all; skips/shows say which own properties are hidden or shown regardless
"use strict";

const p = lethe.use("primordials");
const idl = lethe.use("webidl");
const { ops } = lethe;

const ITEMS_MAX = 100;
const BYTES_MAX = 50;
const never = () => false;

function shape(prefix, over) {
  return {
    base: "",
    prefix,
    open: "{",
    close: "}",
    items: null,
    count: 0,
    columns: false,
    skips: never,
    shows: never,
    ...over,
  };
}

function withBase(base, over) {
  return shape("", { base, ...over });
}

/** The result of a brand-checking getter, undefined for an object of another kind. */
function brand(getter, object) {
  try {
    return getter(object);
  } catch {
    return undefined;
  }
}

function shapeOf(object, name) {
  if (typeof object === "function") return functionShape(object, name);
  if (p.isArray(object)) return arrayShape(object, name);
  if (ops.isError(object)) return errorShape(object, name);
  const view = viewShape(object, name);
  if (view !== undefined) return view;
  const collection = collectionShape(object, name);
  if (collection !== undefined) return collection;
  const boxed = boxedShape(object, name);
  if (boxed !== undefined) return boxed;
  const proto = p.getPrototypeOf(object);
  if (proto !== null && p.setHas(idl.interfaces, proto)) return interfaceShape(object, proto, name);
  return shape(plainPrefix(object, name));
}

function plainPrefix(object, name) {
  if (name === null) return "[Object: null prototype] ";
  const tag = tagOf(object);
  const suffix = tag === "" || tag === name ? "" : `[${tag}] `;
  return name === "Object" ? (suffix === "" ? "" : `Object ${suffix}`) : `${name} ${suffix}`;
}

/** A toStringTag that is plain data somewhere on the prototype chain. */
function tagOf(object) {
  for (let proto = object; proto !== null; proto = p.getPrototypeOf(proto)) {
    if (ops.proxyTarget(proto) !== undefined) return "";
    const property = p.getOwnPropertyDescriptor(proto, p.symbolToStringTag);
    if (property !== undefined) return typeof property.value === "string" ? property.value : "";
  }
  return "";
}

function functionShape(fn, name) {
  const own = p.getOwnPropertyDescriptor(fn, "name");
  const title = typeof own?.value === "string" ? own.value : "";
  const source = p.functionToString(fn);
  if (p.stringStartsWith(source, "class")) {
    const parent = p.getPrototypeOf(fn);
    const parentName = typeof parent === "function" ? p.getOwnPropertyDescriptor(parent, "name")?.value : "";
    const extended = typeof parentName === "string" && parentName !== "" ? ` extends ${parentName}` : "";
    return withBase(`[class ${title === "" ? "(anonymous)" : title}${extended}]`, { skips: isClassKey });
  }
  const kind = name === null ? "Function" : name;
  return withBase(title === "" ? `[${kind} (anonymous)]` : `[${kind}: ${title}]`);
}

function isClassKey(key) {
  return key === "length" || key === "name" || key === "prototype";
}

function isIndex(key) {
  return typeof key === "string" && p.regExpExec(/^(?:0|[1-9][0-9]{0,9})$/, key) !== null;
}

function arrayShape(array, name) {
  const items = [];
  const { length } = array;
  let taken = 0;
  while (taken < length && items.length < ITEMS_MAX) {
    const property = p.getOwnPropertyDescriptor(array, `${taken}`);
    if (property === undefined) {
      const holes = countHoles(array, taken, length);
      items[items.length] = { text: `<${holes} empty item${holes === 1 ? "" : "s"}>` };
      taken += holes;
    } else {
      items[items.length] =
        property.get === undefined && property.set === undefined ? { value: property.value } : { text: "[Getter]" };
      taken++;
    }
  }
  const prefix = name === "Array" ? "" : `${name ?? "[Array: null prototype]"}(${length}) `;
  return shape(prefix, {
    open: "[",
    close: "]",
    items,
    count: items.length + length - taken,
    columns: true,
    skips: isIndex,
  });
}

// A sparse array may have billions of holes: look at the keys it has, not at the numbers in between.
function countHoles(array, from, length) {
  if (p.hasOwn(array, `${from + 1}`)) return 1;
  const keys = p.ownKeys(array);
  for (let i = 0; i < keys.length; i++) {
    if (isIndex(keys[i]) && +keys[i] > from) return +keys[i] - from;
  }
  return length - from;
}

function errorShape(error, name) {
  const stack = p.getOwnPropertyDescriptor(error, "stack");
  const isOurs = stack?.get !== undefined && stack.get === p.stackGetter;
  const value = isOurs ? p.apply(p.stackGetter, error, []) : stack?.value;
  const text = typeof value === "string" ? value : undefined;
  const title = text === undefined || text === "" ? `[${messageOf(error, name)}]` : withoutOwnFrames(text);
  return withBase(title, {
    skips: (key) => key === "stack" || key === "message",
    shows: (key) => key === "cause" || key === "errors",
  });
}

function messageOf(error, name) {
  const message = p.getOwnPropertyDescriptor(error, "message")?.value;
  return typeof message === "string" && message !== "" ? `${name}: ${message}` : `${name}`;
}

/** A stack without the frames of builtins. */
function withoutOwnFrames(stack) {
  let result = "";
  for (let start = 0; start < stack.length;) {
    let end = p.stringIndexOf(stack, "\n", start);
    if (end === -1) end = stack.length;
    const line = p.stringSlice(stack, start, end);
    const isOwn = p.stringStartsWith(line, "    at ") && p.stringIndexOf(line, "lethe:") !== -1;
    if (!isOwn) result += result === "" ? line : `\n${line}`;
    start = end + 1;
  }
  return result;
}

function viewShape(object, name) {
  if (p.isView(object)) {
    const tag = p.typedArrayTag(object);
    if (tag === undefined) {
      return shape(titled(name, "DataView", ""), {
        items: [
          { pair: true, label: "byteLength", value: p.dataViewByteLength(object) },
          { pair: true, label: "byteOffset", value: p.dataViewByteOffset(object) },
        ],
        count: 2,
      });
    }
    const length = p.typedArrayLength(object);
    const items = [];
    for (let i = 0; i < length && i < ITEMS_MAX; i++) items[i] = { value: object[i] };
    return shape(titled(name, tag, `(${length})`), { open: "[", close: "]", items, count: length, columns: true, skips: isIndex });
  }
  if (!idl.isArrayBuffer(object)) return undefined;
  const length = p.arrayBufferByteLength(object);
  const shown = p.min(length, BYTES_MAX);
  const bytes = p.arrayBufferDetached(object) ? [] : new p.Uint8Array(object, 0, shown);
  let text = "";
  for (let i = 0; i < shown; i++) text += `${i === 0 ? "" : " "}${DIGITS[bytes[i] >> 4]}${DIGITS[bytes[i] & 15]}`;
  if (length > shown) text += ` ... ${length - shown} more bytes`;
  return shape(titled(name, "ArrayBuffer", ""), {
    items: [{ text: `[Uint8Contents]: <${text}>` }, { pair: true, label: "byteLength", value: length }],
    count: 2,
  });
}
const DIGITS = "0123456789abcdef";

/** `Map(2) ` or, without a prototype, `[Map(2): null prototype] `. */
function titled(name, kind, size) {
  return name === null ? `[${kind}${size}: null prototype] ` : `${name}${size} `;
}

function collectionShape(object, name) {
  const mapSize = brand(p.mapSize, object);
  if (mapSize !== undefined) {
    const items = [];
    p.mapForEach(object, (value, key) => {
      if (items.length < ITEMS_MAX) items[items.length] = { pair: true, key, value };
    });
    return shape(titled(name, "Map", `(${mapSize})`), { items, count: mapSize });
  }
  const setSize = brand(p.setSize, object);
  if (setSize !== undefined) {
    const items = [];
    p.setForEach(object, (value) => {
      if (items.length < ITEMS_MAX) items[items.length] = { value };
    });
    return shape(titled(name, "Set", `(${setSize})`), { items, count: setSize });
  }
  const promise = ops.promiseState(object);
  if (promise !== undefined) {
    const items = [];
    if (promise.state === "pending") items[0] = { text: "<pending>" };
    else if (promise.state === "fulfilled") items[0] = { value: promise.value };
    else items[0] = { pair: true, label: "<rejected>", value: promise.value };
    return shape(titled(name, "Promise", ""), { items, count: 1 });
  }
  const tag = tagOf(object);
  if (tag === "WeakMap" || tag === "WeakSet")
    return shape(`${name} `, { items: [{ text: "<items unknown>" }], count: 1 });
  return undefined;
}

function boxedShape(object, name) {
  const time = brand(p.dateValue, object);
  if (time !== undefined) return withBase(time - time === 0 ? p.dateToISOString(object) : "Invalid Date");
  const source = brand(p.regExpSource, object);
  if (source !== undefined) return withBase(`/${source}/${flagsOf(object)}`);
  const { quote } = lethe.use("inspect");
  const number = brand(p.numberValue, object);
  if (number !== undefined) return withBase(`[${name}: ${number}]`);
  const string = brand(p.stringValue, object);
  if (string !== undefined)
    return withBase(`[${name}: ${quote(string)}]`, { skips: (key) => isIndex(key) || key === "length" });
  const boolean = brand(p.booleanValue, object);
  return boolean === undefined ? undefined : withBase(`[${name}: ${boolean}]`);
}

function flagsOf(regExp) {
  let flags = "";
  for (let i = 0; i < p.regExpFlags.length; i++) {
    if (brand(p.regExpFlags[i].is, regExp)) flags += p.regExpFlags[i].flag;
  }
  return flags;
}

// Reading these would make a stream, a signal or a parameter list that the worker never asked for.
const UNREAD = ["body", "searchParams", "srcElement", "closed", "ready"];

/** An object of a builtin: the values of its accessors, or its pairs if it is a list of pairs. */
function interfaceShape(object, proto, name) {
  const items = [];
  if (typeof proto.entries === "function" && typeof proto.append === "function") {
    const entries = p.apply(proto.entries, object, []);
    for (let step; !(step = entries.next()).done && items.length < ITEMS_MAX;) {
      const { 0: key, 1: value } = step.value;
      items[items.length] = { pair: true, key, value };
    }
    return shape(`${name} `, { items, count: items.length });
  }
  for (let at = proto; at !== null && p.setHas(idl.interfaces, at); at = p.getPrototypeOf(at)) {
    addAccessors(items, object, at, name);
  }
  return shape(`${name} `, { items, count: items.length });
}

function addAccessors(items, object, proto, name) {
  const keys = p.ownKeys(proto);
  for (let i = 0; i < keys.length; i++) {
    const { get } = p.getOwnPropertyDescriptor(proto, keys[i]);
    if (get === undefined || typeof keys[i] !== "string" || p.arrayIncludes(UNREAD, keys[i])) continue;
    if (keys[i] === "signal" && name === "Request") continue;
    let value;
    try {
      value = p.apply(get, object, []);
    } catch {
      continue;
    }
    items[items.length] = { pair: true, label: keys[i], value };
  }
}

/** A text of several lines with all but the first moved to the right. */
function indented(text, by) {
  let result = "";
  let start = 0;
  for (let at; (at = p.stringIndexOf(text, "\n", start)) !== -1; start = at + 1) {
    result += p.stringSlice(text, start, at + 1) + by;
  }
  return result + p.stringSlice(text, start);
}

return { shapeOf, indented };
