// The fetch algorithm as a server needs it: HTTP, redirects, abort. No CORS, no cache, no cookies.
//
// A native `ops.fetch` sends one request. A body that is a string or bytes is sent again after a redirect that keeps
// it; a stream cannot be.
"use strict";

const p = lethe.use("primordials");
const header = lethe.use("headers");
const bodies = lethe.use("body");
const { stateOf } = lethe.use("request");
const { fromNetwork } = lethe.use("response");
const { ops } = lethe;

const REDIRECTS_MAX = 20;
const BODY_HEADERS = ["content-encoding", "content-language", "content-location", "content-type", "content-length"];
const PRIVATE_HEADERS = ["authorization", "proxy-authorization", "cookie", "host"];
const NULL_BODY = [101, 103, 204, 205, 304];

let lastId = 0;

/**
 * Sends a request, whose body is used from now on, and follows its redirects; a promise of the response. `wire` sends
 * one request on its way: to the outside, or to one actor.
 */
function send(request, wire = ops.fetch) {
  const { method, url, list, body, redirect, source, signal } = stateOf(request);
  const follows = signal ?? source;
  const abort = follows === null ? null : lethe.use("abort");
  if (follows !== null && abort.isAborted(follows)) {
    const reason = abort.reasonOf(follows);
    if (body !== null) dropBody(body, reason);
    return p.promiseReject(reason);
  }
  const call = {
    id: ++lastId,
    wire,
    method,
    url,
    list: p.arraySlice(list),
    body,
    redirect,
    response: null,
    aborted: null,
    failed: null,
    reject: null,
    settled: p.nothing,
  };
  if (p.stringStartsWith(url, "data:")) return fromData(call);
  if (follows === null) return follow(call);
  const { promise, reject } = p.promiseWithResolvers();
  const algorithm = (reason) => cut(call, reason);
  call.reject = reject;
  call.settled = () => abort.removeAlgorithm(follows, algorithm);
  abort.addAlgorithm(follows, algorithm);
  const sent = follow(call);
  p.promiseThen(sent, undefined, call.settled);
  return race(sent, promise);
}

async function fromData({ url, method }) {
  return lethe.use("data_url").load(withoutFragment(url), method);
}

function withoutFragment(url) {
  const at = p.stringIndexOf(url, "#");
  return at === -1 ? url : p.stringSlice(url, 0, at);
}

/** The first of two promises to settle; `Promise.race` would look at what a worker may have patched. */
function race(first, second) {
  return new p.Promise((resolve, reject) => {
    p.promiseThen(first, resolve, reject);
    p.promiseThen(second, resolve, reject);
  });
}

function dropBody(body, reason) {
  if (body.stream !== null && !bodies.isUnusable(body))
    p.markHandled(lethe.use("readable").cancelObject(body.stream, reason));
  else if (body.rid !== null) ops.bodyCancel(body.rid);
}

/** An abort: before the response it rejects the fetch, after it the response's body fails. */
function cut(call, reason) {
  call.aborted = { reason };
  call.reject(reason);
  ops.fetchAbort(call.id);
  if (call.response !== null) bodies.fail(call.response, reason);
}

async function follow(call) {
  let redirected = false;
  for (let hops = 0; ; hops++) {
    const head = await sendOnce(call);
    if (call.aborted !== null) {
      if (head.rid !== null) ops.bodyCancel(head.rid);
      throw call.aborted.reason;
    }
    const location = isRedirect(head.status) ? header.getFrom(head.headers, "location") : null;
    if (location === null || call.redirect === "manual") return respond(call, head, redirected);
    if (head.rid !== null) ops.bodyCancel(head.rid);
    if (call.redirect === "error")
      throw new p.TypeError(`fetch failed: ${call.url} redirects, and redirect is 'error'`);
    if (hops === REDIRECTS_MAX) throw new p.TypeError(`fetch failed: more than ${REDIRECTS_MAX} redirects`);
    redirectTo(call, head.status, location);
    redirected = true;
  }
}

function isRedirect(status) {
  return status === 301 || status === 302 || status === 303 || status === 307 || status === 308;
}

async function sendOnce(call) {
  checkScheme(call.url);
  const list = p.arraySlice(call.list);
  if (header.getFrom(list, "accept") === null) list[list.length] = ["accept", "*/*"];
  const { id, method, url } = call;
  try {
    return await call.wire({ id, method, url, headers: list, body: wireBody(call) });
  } catch (error) {
    throw call.failed === null ? error : call.failed.reason;
  }
}

function checkScheme(url) {
  if (p.stringStartsWith(url, "http:") || p.stringStartsWith(url, "https:")) return;
  throw new p.TypeError(`fetch failed: the URL '${url}' is neither http nor https`);
}

/** null, bytes or a resource id; `call.body` keeps what can be sent again. */
function wireBody(call) {
  if (call.body === null) return null;
  if (call.body.source !== null) return bodies.outgoing(bodies.make(call.body.source, null, null), "fetch");
  const content = bodies.outgoing(call.body, "fetch");
  if (p.isView(content)) return content;
  if (bodies.isStream(content)) {
    return lethe.use("readable_pump").pump(content, {
      failed: (reason) => {
        call.failed = { reason };
      },
      unwanted: (error) => (call.aborted === null ? error : call.aborted.reason),
      ended: () => {},
    });
  }
  return content.rid;
}

/** "HTTP-redirect fetch": the next URL, method, headers and body. */
function redirectTo(call, status, location) {
  const next = ops.urlParse(escaped(location), call.url, undefined);
  if (next === undefined) throw new p.TypeError(`fetch failed: cannot redirect to '${location}'`);
  const target = p.stringIndexOf(next, "#") === -1 ? next + fragmentOf(call.url) : next;
  checkScheme(target);
  if (status !== 303 && call.body !== null && call.body.source === null) {
    throw new p.TypeError("fetch failed: a streaming body cannot be sent again after a redirect");
  }
  const toGet =
    ((status === 301 || status === 302) && call.method === "POST") ||
    (status === 303 && call.method !== "GET" && call.method !== "HEAD");
  if (toGet) {
    call.method = "GET";
    call.body = null;
    for (let i = 0; i < BODY_HEADERS.length; i++) header.removeFrom(call.list, BODY_HEADERS[i]);
  }
  if (originOf(target) !== originOf(call.url)) {
    for (let i = 0; i < PRIVATE_HEADERS.length; i++) header.removeFrom(call.list, PRIVATE_HEADERS[i]);
  }
  call.url = target;
}

/** Header bytes above 0x7f percent-encoded: a header is no text in a known encoding. */
function escaped(location) {
  let text = "";
  for (let i = 0; i < location.length; i++) {
    const code = p.charCodeAt(location, i);
    text += code < 0x80 ? location[i] : `%${HEX[code >> 4]}${HEX[code & 15]}`;
  }
  return text;
}
const HEX = "0123456789ABCDEF";

function fragmentOf(url) {
  const at = p.stringIndexOf(url, "#");
  return at === -1 ? "" : p.stringSlice(url, at);
}

/** Scheme, host and port of a serialized http URL; user and password do not count. */
function originOf(url) {
  const match = p.regExpExec(/^([a-z]+:\/\/)(?:[^/?#]*@)?([^/?#]*)/, url);
  return match[1] + match[2];
}

function respond(call, head, redirected) {
  const empty = call.method === "HEAD" || p.arrayIncludes(NULL_BODY, head.status);
  if (empty && head.rid !== null) ops.bodyCancel(head.rid);
  // A response that may have a body has one, if only of no bytes.
  const body = empty ? null : bodies.make(head.rid === null ? new p.Uint8Array(0) : null, head.rid, null);
  if (head.rid !== null && body !== null) {
    call.response = body;
    // A signal outlives the fetch in an actor; it must not keep every response it could have cut.
    body.failure.ended = call.settled;
  } else {
    call.settled();
  }
  return fromNetwork(head, withoutFragment(call.url), redirected, body);
}

return { send };
