// Headers: a list of lower-case names and values. Internally a header list is an array of `[name, value]` pairs in the
// order they were added; a name may occur more than once, and reading joins its values with ", " (except `set-cookie`).
//
// Forbidden header names do not exist here: a server may send what a browser may not.
"use strict";

const p = lethe.use("primordials");
const idl = lethe.use("webidl");

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const TOKEN_MARKS = "!#$%&'*+-.^_`|~";
const VALUE = /^[^\0\r\n]*$/;
const EDGES = /^[\t\n\r ]*([^]*?)[\t\n\r ]*$/;

function isTokenCode(code) {
  if ((code > 96 && code < 123) || (code > 64 && code < 91) || (code > 47 && code < 58)) return true;
  return p.stringIndexOf(TOKEN_MARKS, p.fromCharCode(code)) !== -1;
}

/** Whether `text` is what HTTP calls a token. */
function isToken(text) {
  return text !== "" && idl.every(text, isTokenCode, TOKEN);
}

function isValueCode(code) {
  return code !== 0 && code !== 13 && code !== 10;
}

function checkedName(value, where) {
  const name = idl.byteString(value, where);
  if (!isToken(name)) throw new p.TypeError(`${where}: '${name}' is not a valid header name`);
  return p.toLowerCase(name);
}

function isSpace(code) {
  return code === 9 || code === 10 || code === 13 || code === 32;
}

/** Without HTTP white space at both ends. */
function trimmed(value) {
  const { length } = value;
  if (length === 0) return value;
  if (!isSpace(p.charCodeAt(value, 0)) && !isSpace(p.charCodeAt(value, length - 1))) return value;
  return p.regExpExec(EDGES, value)[1];
}

function checkedValue(value, where) {
  const text = trimmed(idl.byteString(value, where));
  if (!idl.every(text, isValueCode, VALUE))
    throw new p.TypeError(`${where}: the header value has a line break or NUL`);
  return text;
}

function getFrom(list, name) {
  let found = null;
  for (let i = 0; i < list.length; i++) {
    if (list[i][0] === name) found = found === null ? list[i][1] : `${found}, ${list[i][1]}`;
  }
  return found;
}

function removeFrom(list, name) {
  let kept = 0;
  for (let i = 0; i < list.length; i++) {
    if (list[i][0] !== name) list[kept++] = list[i];
  }
  list.length = kept;
}

function setIn(list, name, value) {
  for (let i = 0; i < list.length; i++) {
    if (list[i][0] !== name) continue;
    const first = [name, value];
    removeFrom(list, name);
    p.arraySplice(list, i, 0, first);
    return;
  }
  list[list.length] = [name, value];
}

/** Names sorted, values joined, every `set-cookie` by itself: what iteration shows. */
function sortedAndCombined(list) {
  const names = [];
  const seen = new p.Set();
  for (let i = 0; i < list.length; i++) {
    if (!p.setHas(seen, list[i][0])) {
      p.setAdd(seen, list[i][0]);
      names[names.length] = list[i][0];
    }
  }
  p.arraySort(names);
  const result = [];
  for (let i = 0; i < names.length; i++) {
    if (names[i] === "set-cookie") {
      for (let j = 0; j < list.length; j++) if (list[j][0] === "set-cookie") result[result.length] = list[j];
    } else {
      result[result.length] = [names[i], getFrom(list, names[i])];
    }
  }
  return result;
}

let listOf;
let wrap;
let isHeaders;
let sortedList;

class Headers {
  #list;
  #immutable = false;
  #sorted = null;

  static {
    isHeaders = (value) => idl.isObject(value) && #list in value;
    listOf = (headers) => headers.#list;
    wrap = (list, immutable) => {
      const headers = new Headers();
      headers.#list = list;
      headers.#immutable = immutable;
      return headers;
    };
    sortedList = (headers) => (headers.#sorted ??= sortedAndCombined(headers.#list));
  }

  constructor(init = undefined) {
    this.#list = [];
    if (init !== undefined) fill(this.#list, init);
  }

  append(name, value) {
    const where = "Failed to execute 'append' on 'Headers'";
    idl.required(arguments, 2, where);
    this.#add(checkedName(name, where), checkedValue(value, where));
  }

  delete(name) {
    const where = "Failed to execute 'delete' on 'Headers'";
    const list = this.#list;
    idl.required(arguments, 1, where);
    const key = checkedName(name, where);
    this.#changing();
    removeFrom(list, key);
  }

  get(name) {
    const where = "Failed to execute 'get' on 'Headers'";
    const list = this.#list;
    idl.required(arguments, 1, where);
    return getFrom(list, checkedName(name, where));
  }

  getSetCookie() {
    const values = [];
    const list = this.#list;
    for (let i = 0; i < list.length; i++) if (list[i][0] === "set-cookie") values[values.length] = list[i][1];
    return values;
  }

  has(name) {
    const where = "Failed to execute 'has' on 'Headers'";
    const list = this.#list;
    idl.required(arguments, 1, where);
    return getFrom(list, checkedName(name, where)) !== null;
  }

  set(name, value) {
    const where = "Failed to execute 'set' on 'Headers'";
    const list = this.#list;
    idl.required(arguments, 2, where);
    const key = checkedName(name, where);
    const text = checkedValue(value, where);
    this.#changing();
    setIn(list, key, text);
  }

  #add(name, value) {
    this.#changing();
    const list = this.#list;
    list[list.length] = [name, value];
  }

  #changing() {
    if (this.#immutable) throw new p.TypeError("Can't modify immutable headers");
    this.#sorted = null;
  }
}

idl.iface(Headers, "Headers");
idl.pairIterable(Headers, "Headers", (headers, index) => {
  if (!isHeaders(headers)) throw new p.TypeError("The receiver is not a Headers object");
  return sortedList(headers)[index];
});

const headersIterator = Headers.prototype[p.symbolIterator];

/** Appends what a `HeadersInit` says to a list. */
function fill(list, init) {
  const where = "Failed to construct 'Headers'";
  if (!idl.isObject(init)) throw new p.TypeError(`${where}: the value is neither pairs nor a record`);
  if (isHeaders(init) && init[p.symbolIterator] === headersIterator) {
    const from = listOf(init);
    for (let i = 0; i < from.length; i++) list[list.length] = from[i];
    return;
  }
  const convert = (value) => idl.byteString(value, where);
  const pairs = idl.pairs(init, convert, convert, where);
  for (let i = 0; i < pairs.length; i++) {
    const name = checkedName(pairs[i][0], where);
    list[list.length] = [name, checkedValue(pairs[i][1], where)];
  }
}

return { Headers, isHeaders, isToken, listOf, wrap, fill, getFrom, setIn, removeFrom, trimmed };
