// Response.
"use strict";

const p = lethe.use("primordials");
const idl = lethe.use("webidl");
const header = lethe.use("headers");
const bodies = lethe.use("body");

const REASON = /^[\t\x20-\x7e\x80-\xff]*$/;
const isReasonCode = (code) => code === 9 || (code > 31 && code !== 127 && code < 256);
const REDIRECTS = [301, 302, 303, 307, 308];
const NULL_BODY = [101, 103, 204, 205, 304];
const INTERNAL = p.freeze({ __proto__: null });

let stateOf;
let isResponse;

/**
 * A response inside: `type` is `default`, `basic` or `error`; `url` the last URL of a fetch or ""; `list` the header
 * list; `headers` its Headers once asked for.
 */
function state(status, list, body) {
  return {
    type: "default",
    url: "",
    redirected: false,
    status,
    statusText: "",
    list,
    headers: null,
    immutable: false,
    body,
  };
}

class Response {
  #state;

  static {
    isResponse = (value) => idl.isObject(value) && #state in value;
    stateOf = (response) => response.#state;
  }

  constructor(body = null, init = undefined) {
    if (body === INTERNAL) {
      this.#state = init;
      return;
    }
    const where = "Failed to construct 'Response'";
    this.#state = initialized(idl.dictionary(init, where), where);
    if (body === null) return;
    const { 0: extracted, 1: type } = bodies.extract(body, where);
    setBody(this.#state, extracted, type, where);
  }

  static error() {
    const made = state(0, [], null);
    made.type = "error";
    made.immutable = true;
    return new Response(INTERNAL, made);
  }

  static json(data, init = undefined) {
    const where = "Failed to execute 'json' on 'Response'";
    idl.required(arguments, 1, where);
    const text = p.jsonStringify(data);
    if (text === undefined) throw new p.TypeError(`${where}: the value has no JSON form`);
    const made = initialized(idl.dictionary(init, where), where);
    setBody(made, bodies.make(p.toWellFormed(text), null, null), "application/json", where);
    return new Response(INTERNAL, made);
  }

  static redirect(url, status = 302) {
    const where = "Failed to execute 'redirect' on 'Response'";
    idl.required(arguments, 1, where);
    const text = idl.usvString(url);
    const code = idl.unsigned(status, 16);
    const href = lethe.ops.urlParse(text, undefined, undefined);
    if (href === undefined) throw new p.TypeError(`${where}: '${text}' is not an absolute URL`);
    if (!p.arrayIncludes(REDIRECTS, code)) throw new p.RangeError(`${where}: ${code} is not a redirect status`);
    const made = state(code, [["location", href]], null);
    made.immutable = true;
    return new Response(INTERNAL, made);
  }

  get type() {
    return this.#state.type;
  }
  get url() {
    return this.#state.url;
  }
  get redirected() {
    return this.#state.redirected;
  }
  get status() {
    return this.#state.status;
  }
  get ok() {
    const { status } = this.#state;
    return status >= 200 && status <= 299;
  }
  get statusText() {
    return this.#state.statusText;
  }
  get headers() {
    const own = this.#state;
    return (own.headers ??= header.wrap(own.list, own.immutable));
  }

  clone() {
    const own = this.#state;
    if (own.body !== null) bodies.assertUsable(own.body, "Failed to execute 'clone' on 'Response'");
    const body = own.body === null ? null : bodies.clone(own.body);
    return new Response(INTERNAL, { ...own, list: p.arraySlice(own.list), headers: null, body });
  }
}

idl.iface(Response, "Response");
bodies.mixin(
  Response,
  "Response",
  (self) => {
    if (!isResponse(self)) throw new p.TypeError("The receiver is not a Response");
    return stateOf(self).body;
  },
  (self) => header.getFrom(stateOf(self).list, "content-type"),
);

/** State of a `ResponseInit`; members are read in WebIDL's order. */
function initialized(init, where) {
  const { headers, status, statusText } = init;
  const code = status === undefined ? 200 : idl.unsigned(status, 16);
  const reason = statusText === undefined ? "" : idl.byteString(statusText, where);
  if (code < 200 || code > 599) throw new p.RangeError(`${where}: status ${code} is not from 200 to 599`);
  if (!idl.every(reason, isReasonCode, REASON)) throw new p.TypeError(`${where}: the statusText is not valid`);
  const made = state(code, [], null);
  made.statusText = reason;
  if (headers !== undefined) header.fill(made.list, headers);
  return made;
}

function setBody(made, body, type, where) {
  if (p.arrayIncludes(NULL_BODY, made.status)) {
    throw new p.TypeError(`${where}: a response with status ${made.status} cannot have a body`);
  }
  made.body = body;
  if (type !== null && header.getFrom(made.list, "content-type") === null) {
    made.list[made.list.length] = ["content-type", type];
  }
}

/** A Response of what the network sent: `{ status, statusText, headers, rid }`. */
function fromNetwork(head, url, redirected, body) {
  const made = state(head.status, head.headers, body);
  made.type = "basic";
  made.statusText = head.statusText;
  made.url = url;
  made.redirected = redirected;
  made.immutable = true;
  return new Response(INTERNAL, made);
}

/**
 * What goes out on the wire for a handler's response; its body is used from now on.
 * `body` is null, a Uint8Array, `{ rid }` of a native stream, or a ReadableStream.
 */
function describeResponse(response) {
  if (!isResponse(response)) throw new p.TypeError("The handler did not return a Response");
  const { type, status, statusText, list, body } = stateOf(response);
  if (type === "error") throw new p.TypeError("The handler returned a network error (Response.error())");
  const content = body === null ? null : bodies.outgoing(body, "Failed to send the Response");
  return { status, statusText, headers: list, body: content };
}

return { Response, isResponse, describeResponse, fromNetwork, stateOf };
