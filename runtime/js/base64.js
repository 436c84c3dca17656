// atob and btoa: forgiving base64 of the Infra standard, between "binary strings".
"use strict";

const idl = lethe.use("webidl");
const { ops } = lethe;

function invalid(message) {
  const { DOMException } = lethe.use("dom_exception");
  return new DOMException(message, "InvalidCharacterError");
}

return {
  atob(data) {
    idl.required(arguments, 1, "Failed to execute 'atob'");
    const decoded = ops.atob(idl.domString(data));
    if (decoded === undefined) throw invalid("Failed to execute 'atob': the string is not correctly encoded");
    return decoded;
  },
  btoa(data) {
    idl.required(arguments, 1, "Failed to execute 'btoa'");
    const encoded = ops.btoa(idl.domString(data));
    if (encoded === undefined) throw invalid("Failed to execute 'btoa': the string has a character above U+00FF");
    return encoded;
  },
};
