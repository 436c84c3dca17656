// `fetch`, and what the event loop needs of requests and responses. The algorithm itself is in `fetch_send.js`,
// evaluated by the first call.
"use strict";

const p = lethe.use("primordials");
const idl = lethe.use("webidl");
const { Request, isRequest, newIncomingRequest } = lethe.use("request");
const { Response, isResponse, describeResponse } = lethe.use("response");
const { Headers } = lethe.use("headers");

// A method, so that it is no constructor.
const { fetch } = {
  fetch(input, init = undefined) {
    try {
      idl.required(arguments, 1, "Failed to execute 'fetch'");
      return lethe.use("fetch_send").send(new Request(input, init));
    } catch (error) {
      return p.promiseReject(error);
    }
  },
};

return { fetch, Headers, Request, Response, isRequest, isResponse, newIncomingRequest, describeResponse };
