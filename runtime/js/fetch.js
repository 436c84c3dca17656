// `fetch`, and what the event loop needs of requests and responses. The algorithm itself is in `fetch_send.js`,
// evaluated by the first call.
"use strict";

const p = lethe.use("primordials");
const { Request, isRequest, newIncomingRequest } = lethe.use("request");
const { Response, isResponse, describeResponse } = lethe.use("response");
const { Headers } = lethe.use("headers");

async function fetch(input, init = undefined) {
  if (arguments.length === 0) throw new p.TypeError("Failed to execute 'fetch': 1 argument required, but only 0 present");
  return lethe.use("fetch_send").send(new Request(input, init));
}

return { fetch, Headers, Request, Response, isRequest, isResponse, newIncomingRequest, describeResponse };
