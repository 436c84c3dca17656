// URL of the URL standard. A native parses and changes; here a URL is its serialization and the offsets of its parts:
//
//   https://user:pass@example.com:1234/a/b?c=d#e
//         |    |      |           |   |   |   |
//         0    1      2           3   |   5   6      parts[4] is the port (NONE if there is none)
//         scheme                      |   query
//              user name end      host end            parts[5] path start, [6] query start, [7] fragment start (NONE)
//
// `searchParams` is made when it is first asked for.
"use strict";

const p = lethe.use("primordials");
const idl = lethe.use("webidl");
const { ops } = lethe;

const INTERNAL = p.freeze({ __proto__: null });
const NONE = 0xffffffff;
const SCHEME_END = 0;
const USERNAME_END = 1;
const HOST_START = 2;
const HOST_END = 3;
const PORT = 4;
const PATH_START = 5;
const QUERY_START = 6;
const FRAGMENT_START = 7;
const SPECIAL = { __proto__: null, "http:": true, "https:": true, "ws:": true, "wss:": true, "ftp:": true };

function parse(url, base) {
  const parts = new p.Uint32Array(8);
  const href = ops.urlParse(url, base, parts);
  return href === undefined ? undefined : { href, parts };
}

let setQuery;
let isURL;
let fromParsed;

class URL {
  #href;
  #parts;
  #params = null;

  static {
    isURL = (value) => idl.isObject(value) && #href in value;
    // Called by URLSearchParams when its list has changed.
    setQuery = (url, query) => url.#change("search", query === "" ? "" : `?${query}`);
    fromParsed = (parsed) => new URL(INTERNAL, parsed);
  }

  constructor(url, base = undefined) {
    if (url === INTERNAL) {
      this.#href = base.href;
      this.#parts = base.parts;
      return;
    }
    const where = "Failed to construct 'URL'";
    idl.required(arguments, 1, where);
    const text = idl.usvString(url);
    const against = base === undefined ? undefined : idl.usvString(base);
    const parsed = parse(text, against);
    if (parsed === undefined) {
      throw new p.TypeError(
        `${where}: '${text}' is not a valid URL${against === undefined ? "" : ` against '${against}'`}`,
      );
    }
    this.#href = parsed.href;
    this.#parts = parsed.parts;
  }

  static canParse(url, base = undefined) {
    idl.required(arguments, 1, "Failed to execute 'canParse' on 'URL'");
    const text = idl.usvString(url);
    return ops.urlParse(text, base === undefined ? undefined : idl.usvString(base), undefined) !== undefined;
  }

  static parse(url, base = undefined) {
    idl.required(arguments, 1, "Failed to execute 'parse' on 'URL'");
    const text = idl.usvString(url);
    const parsed = parse(text, base === undefined ? undefined : idl.usvString(base));
    return parsed === undefined ? null : fromParsed(parsed);
  }

  get href() {
    return this.#href;
  }
  set href(value) {
    this.#parts;
    const text = idl.usvString(value);
    const parsed = parse(text, undefined);
    if (parsed === undefined) throw new p.TypeError(`Failed to set 'href' on 'URL': '${text}' is not a valid URL`);
    this.#href = parsed.href;
    this.#parts = parsed.parts;
    this.#syncParams();
  }

  get origin() {
    const { protocol } = this;
    if (SPECIAL[protocol]) return `${protocol}//${this.host}`;
    if (protocol !== "blob:") return "null";
    const inner = parse(this.pathname, undefined);
    if (inner === undefined) return "null";
    const scheme = p.stringSlice(inner.href, 0, inner.parts[SCHEME_END] + 1);
    if (scheme !== "http:" && scheme !== "https:") return "null";
    return `${scheme}//${p.stringSlice(inner.href, inner.parts[HOST_START], inner.parts[PATH_START])}`;
  }

  get protocol() {
    return p.stringSlice(this.#href, 0, this.#parts[SCHEME_END] + 1);
  }
  set protocol(value) {
    this.#change("protocol", idl.usvString(value));
  }

  get username() {
    const start = this.#parts[SCHEME_END] + 3;
    return start < this.#parts[USERNAME_END] ? p.stringSlice(this.#href, start, this.#parts[USERNAME_END]) : "";
  }
  set username(value) {
    this.#change("username", idl.usvString(value));
  }

  get password() {
    const start = this.#parts[USERNAME_END] + 1;
    const end = this.#parts[HOST_START] - 1;
    const has = start < end && p.charCodeAt(this.#href, start - 1) === 0x3a;
    return has ? p.stringSlice(this.#href, start, end) : "";
  }
  set password(value) {
    this.#change("password", idl.usvString(value));
  }

  get host() {
    return p.stringSlice(this.#href, this.#parts[HOST_START], this.#hostAndPortEnd());
  }
  set host(value) {
    this.#change("host", idl.usvString(value));
  }

  get hostname() {
    return p.stringSlice(this.#href, this.#parts[HOST_START], this.#parts[HOST_END]);
  }
  set hostname(value) {
    this.#change("hostname", idl.usvString(value));
  }

  get port() {
    return this.#parts[PORT] === NONE ? "" : `${this.#parts[PORT]}`;
  }
  set port(value) {
    this.#change("port", idl.usvString(value));
  }

  get pathname() {
    const parts = this.#parts;
    const end = parts[QUERY_START] !== NONE ? parts[QUERY_START] : parts[FRAGMENT_START];
    return p.stringSlice(this.#href, parts[PATH_START], end === NONE ? undefined : end);
  }
  set pathname(value) {
    this.#change("pathname", idl.usvString(value));
  }

  get search() {
    const start = this.#parts[QUERY_START];
    if (start === NONE) return "";
    const end = this.#parts[FRAGMENT_START];
    const query = p.stringSlice(this.#href, start, end === NONE ? undefined : end);
    return query === "?" ? "" : query;
  }
  set search(value) {
    this.#change("search", idl.usvString(value));
    this.#syncParams();
  }

  get searchParams() {
    this.#parts;
    this.#params ??= lethe.use("url_search_params").linked(this, p.stringSlice(this.search, 1), setQuery);
    return this.#params;
  }

  get hash() {
    const start = this.#parts[FRAGMENT_START];
    if (start === NONE) return "";
    const fragment = p.stringSlice(this.#href, start);
    return fragment === "#" ? "" : fragment;
  }
  set hash(value) {
    this.#change("hash", idl.usvString(value));
  }

  toString() {
    return this.#href;
  }
  toJSON() {
    return this.#href;
  }

  /** A port is written as `:1234` between host and path. */
  #hostAndPortEnd() {
    const parts = this.#parts;
    return parts[PORT] === NONE ? parts[HOST_END] : parts[HOST_END] + 1 + `${parts[PORT]}`.length;
  }

  #change(part, value) {
    const parts = new p.Uint32Array(8);
    const href = ops.urlSet(this.#href, part, value, parts);
    if (href === undefined) return;
    this.#href = href;
    this.#parts = parts;
  }

  #syncParams() {
    if (this.#params !== null) lethe.use("url_search_params").replace(this.#params, p.stringSlice(this.search, 1));
  }
}
idl.iface(URL, "URL");

return { URL, isURL };
