// Request. A URL is parsed by native code, so that making a Request does not evaluate the URL builtin; the `signal` is
// made when it is first asked for.
"use strict";

const p = lethe.use("primordials");
const idl = lethe.use("webidl");
const header = lethe.use("headers");
const bodies = lethe.use("body");

const UPPERCASED = ["DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT"];
const FORBIDDEN = ["CONNECT", "TRACE", "TRACK"];
const REDIRECT_MODES = ["follow", "error", "manual"];
const CACHE_MODES = ["default", "no-store", "reload", "no-cache", "force-cache", "only-if-cached"];
const INTERNAL = p.freeze({ __proto__: null });

let stateOf;
let isRequest;

/** A request inside. `source` is the AbortSignal that `signal` follows, `signal` the one shown, once asked for. */
function state(method, url, list, body) {
  return {
    method,
    url,
    list,
    headers: null,
    immutable: false,
    body,
    redirect: "follow",
    cache: "default",
    integrity: "",
    keepalive: false,
    cf: undefined,
    source: null,
    signal: null,
  };
}

class Request {
  #state;

  static {
    isRequest = (value) => idl.isObject(value) && #state in value;
    stateOf = (request) => request.#state;
  }

  constructor(input, init = undefined) {
    if (input === INTERNAL) {
      this.#state = init;
      return;
    }
    const where = "Failed to construct 'Request'";
    idl.required(arguments, 1, where);
    this.#state = constructed(input, init, where);
  }

  get method() {
    return this.#state.method;
  }
  get url() {
    return this.#state.url;
  }
  get headers() {
    const own = this.#state;
    return (own.headers ??= header.wrap(own.list, own.immutable));
  }
  get redirect() {
    return this.#state.redirect;
  }
  get cache() {
    return this.#state.cache;
  }
  get integrity() {
    return this.#state.integrity;
  }
  get keepalive() {
    return this.#state.keepalive;
  }
  get cf() {
    return this.#state.cf;
  }
  get duplex() {
    this.#state;
    return "half";
  }
  get signal() {
    const own = this.#state;
    return (own.signal ??= lethe.use("abort").following(own.source));
  }

  clone() {
    const own = this.#state;
    if (own.body !== null) bodies.assertUsable(own.body, "Failed to execute 'clone' on 'Request'");
    const body = own.body === null ? null : bodies.clone(own.body);
    const source = own.signal ?? own.source;
    const list = p.arraySlice(own.list);
    return new Request(INTERNAL, { ...own, list, headers: null, immutable: false, body, source, signal: null });
  }
}

idl.iface(Request, "Request");
bodies.mixin(
  Request,
  "Request",
  (self) => {
    if (!isRequest(self)) throw new p.TypeError("The receiver is not a Request");
    return stateOf(self).body;
  },
  (self) => header.getFrom(stateOf(self).list, "content-type"),
);

function constructed(input, init, where) {
  const from = isRequest(input) ? stateOf(input) : null;
  const text = from === null ? idl.usvString(input) : null;
  const options = requestInit(idl.dictionary(init, where), where);
  const made = from === null ? state("GET", parsedUrl(text, where), null, null) : inherited(from);
  if (options.redirect !== undefined) made.redirect = options.redirect;
  if (options.cache !== undefined) made.cache = options.cache;
  if (options.integrity !== undefined) made.integrity = options.integrity;
  if (options.keepalive !== undefined) made.keepalive = options.keepalive;
  if (options.cf !== undefined) made.cf = options.cf;
  if (options.method !== undefined) made.method = checkedMethod(options.method, where);
  if (options.signal !== undefined) made.source = checkedSignal(options.signal, where);
  made.list = [];
  if (options.headers !== undefined) header.fill(made.list, options.headers);
  else if (from !== null) made.list = p.arraySlice(from.list);
  chooseBody(made, from, options.body, where);
  return made;
}

/** Reads a `RequestInit` in WebIDL's order (members by name). */
function requestInit(init, where) {
  const read = {};
  const { body, cache, cf, duplex, headers, integrity, keepalive, method, redirect, signal } = init;
  if (body !== undefined) read.body = body;
  if (cache !== undefined) read.cache = idl.enumeration(cache, CACHE_MODES, `${where}: cache`);
  if (cf !== undefined) read.cf = cf;
  if (duplex !== undefined) idl.enumeration(duplex, ["half"], `${where}: duplex`);
  if (headers !== undefined) read.headers = headers;
  if (integrity !== undefined) read.integrity = idl.domString(integrity);
  if (keepalive !== undefined) read.keepalive = !!keepalive;
  if (method !== undefined) read.method = idl.byteString(method, `${where}: method`);
  if (redirect !== undefined) read.redirect = idl.enumeration(redirect, REDIRECT_MODES, `${where}: redirect`);
  if (signal !== undefined) read.signal = signal;
  return read;
}

function parsedUrl(text, where) {
  const href = lethe.ops.urlParse(text, undefined, undefined);
  if (href === undefined) throw new p.TypeError(`${where}: '${text}' is not an absolute URL`);
  if (hasCredentials(href)) throw new p.TypeError(`${where}: the URL contains a user name or password`);
  return href;
}

/** Whether the authority of a serialized URL has an `@`. */
function hasCredentials(href) {
  return p.regExpExec(/^[a-z][a-z0-9+.-]*:\/\/[^/?#]*@/, href) !== null;
}

function inherited(from) {
  return { ...from, headers: null, immutable: false, body: null, source: from.signal ?? from.source, signal: null };
}

function checkedMethod(method, where) {
  const upper = p.toUpperCase(method);
  if (!header.isToken(method)) throw new p.TypeError(`${where}: '${method}' is not a valid method`);
  if (p.arrayIncludes(FORBIDDEN, upper)) throw new p.TypeError(`${where}: the method '${method}' is not allowed`);
  return p.arrayIncludes(UPPERCASED, upper) ? upper : method;
}

function checkedSignal(signal, where) {
  if (signal === null) return null;
  if (!lethe.use("abort").isAbortSignal(signal)) throw new p.TypeError(`${where}: the signal is not an AbortSignal`);
  return signal;
}

function chooseBody(made, from, init, where) {
  const inherits = from !== null && from.body !== null;
  const given = init !== undefined && init !== null;
  if ((given || (init === undefined && inherits)) && (made.method === "GET" || made.method === "HEAD")) {
    throw new p.TypeError(`${where}: a request with method ${made.method} cannot have a body`);
  }
  if (given) {
    const { 0: body, 1: type } = bodies.extract(init, where);
    made.body = body;
    if (type !== null && header.getFrom(made.list, "content-type") === null) {
      made.list[made.list.length] = ["content-type", type];
    }
  } else if (init === undefined && inherits) {
    made.body = bodies.move(from.body, where);
  }
}

/** The Request a handler gets: `headers` are pairs with lower-case names, `rid` the native body or null. */
function newIncomingRequest({ method, url, headers, rid }) {
  const made = state(method, url, headers, rid === null || rid === undefined ? null : bodies.make(null, rid, null));
  made.immutable = true;
  made.redirect = "manual";
  return new Request(INTERNAL, made);
}

return { Request, isRequest, newIncomingRequest, stateOf };
