// URLSearchParams: a list of `[name, value]` pairs, linked to the URL it came from.
"use strict";

const p = lethe.use("primordials");
const idl = lethe.use("webidl");
const { ops } = lethe;

let isURLSearchParams;
let listOf;
let linked;
let replace;

/** Pairs of an application/x-www-form-urlencoded string. */
function parse(query) {
  const flat = ops.formParse(query);
  const list = [];
  for (let i = 0; i < flat.length; i += 2) list[i >> 1] = [flat[i], flat[i + 1]];
  return list;
}

function serializeList(list) {
  const flat = [];
  for (let i = 0; i < list.length; i++) {
    flat[2 * i] = list[i][0];
    flat[2 * i + 1] = list[i][1];
  }
  return ops.formSerialize(flat);
}

function compare(a, b) {
  return a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0;
}

class URLSearchParams {
  #list;
  #url = null;
  #setQuery = null;

  static {
    isURLSearchParams = (value) => idl.isObject(value) && #list in value;
    listOf = (params) => params.#list;
    linked = (url, query, setQuery) => {
      const params = new URLSearchParams();
      params.#list = parse(query);
      params.#url = url;
      params.#setQuery = setQuery;
      return params;
    };
    replace = (params, query) => {
      params.#list = parse(query);
    };
  }

  constructor(init = "") {
    const where = "Failed to construct 'URLSearchParams'";
    if (idl.isObject(init)) {
      this.#list = idl.pairs(init, idl.usvString, idl.usvString, where);
    } else {
      const text = idl.usvString(init);
      this.#list = parse(p.stringStartsWith(text, "?") ? p.stringSlice(text, 1) : text);
    }
  }

  get size() {
    return this.#list.length;
  }

  append(name, value) {
    const list = this.#list;
    idl.required(arguments, 2, "Failed to execute 'append' on 'URLSearchParams'");
    list[list.length] = [idl.usvString(name), idl.usvString(value)];
    this.#update();
  }

  delete(name, value = undefined) {
    this.#list;
    idl.required(arguments, 1, "Failed to execute 'delete' on 'URLSearchParams'");
    const key = idl.usvString(name);
    const only = value === undefined ? undefined : idl.usvString(value);
    const kept = [];
    const list = this.#list;
    for (let i = 0; i < list.length; i++) {
      if (list[i][0] !== key || (only !== undefined && list[i][1] !== only)) kept[kept.length] = list[i];
    }
    this.#list = kept;
    this.#update();
  }

  get(name) {
    const list = this.#list;
    idl.required(arguments, 1, "Failed to execute 'get' on 'URLSearchParams'");
    const key = idl.usvString(name);
    for (let i = 0; i < list.length; i++) if (list[i][0] === key) return list[i][1];
    return null;
  }

  getAll(name) {
    const list = this.#list;
    idl.required(arguments, 1, "Failed to execute 'getAll' on 'URLSearchParams'");
    const key = idl.usvString(name);
    const values = [];
    for (let i = 0; i < list.length; i++) if (list[i][0] === key) values[values.length] = list[i][1];
    return values;
  }

  has(name, value = undefined) {
    const list = this.#list;
    idl.required(arguments, 1, "Failed to execute 'has' on 'URLSearchParams'");
    const key = idl.usvString(name);
    const only = value === undefined ? undefined : idl.usvString(value);
    for (let i = 0; i < list.length; i++) {
      if (list[i][0] === key && (only === undefined || list[i][1] === only)) return true;
    }
    return false;
  }

  set(name, value) {
    this.#list;
    idl.required(arguments, 2, "Failed to execute 'set' on 'URLSearchParams'");
    const pair = [idl.usvString(name), idl.usvString(value)];
    const kept = [];
    const list = this.#list;
    let found = false;
    for (let i = 0; i < list.length; i++) {
      if (list[i][0] !== pair[0]) {
        kept[kept.length] = list[i];
      } else if (!found) {
        found = true;
        kept[kept.length] = pair;
      }
    }
    if (!found) kept[kept.length] = pair;
    this.#list = kept;
    this.#update();
  }

  sort() {
    p.arraySort(this.#list, compare);
    this.#update();
  }

  toString() {
    return serializeList(this.#list);
  }

  #update() {
    if (this.#url !== null) this.#setQuery(this.#url, serializeList(this.#list));
  }
}
idl.iface(URLSearchParams, "URLSearchParams");
idl.pairIterable(URLSearchParams, "URLSearchParams", (params, index) => {
  if (!isURLSearchParams(params)) throw new p.TypeError("The receiver is not a URLSearchParams object");
  return listOf(params)[index];
});

const exports = {
  URLSearchParams,
  isURLSearchParams,
  linked,
  replace,
  serialize: (params) => serializeList(listOf(params)),
};
lethe.use("evaluated").url_search_params = exports;
return exports;
