// FormData, and its encoding as multipart/form-data.
"use strict";

const p = lethe.use("primordials");
const idl = lethe.use("webidl");
const blobs = lethe.use("blob");
const { ops } = lethe;

let isFormData;
let listOf;

class FormData {
  // `[name, string or File]` in order.
  #list = [];

  static {
    isFormData = (value) => idl.isObject(value) && #list in value;
    listOf = (form) => form.#list;
  }

  constructor(form = undefined) {
    if (form !== undefined) throw new p.TypeError("Failed to construct 'FormData': there are no form elements here");
  }

  append(name, value, filename = undefined) {
    const list = this.#list;
    list[list.length] = entry(arguments, "append", filename);
  }

  delete(name) {
    const list = this.#list;
    idl.required(arguments, 1, "Failed to execute 'delete' on 'FormData'");
    removeAll(list, idl.usvString(name));
  }

  get(name) {
    const list = this.#list;
    idl.required(arguments, 1, "Failed to execute 'get' on 'FormData'");
    const key = idl.usvString(name);
    for (let i = 0; i < list.length; i++) if (list[i][0] === key) return list[i][1];
    return null;
  }

  getAll(name) {
    const list = this.#list;
    idl.required(arguments, 1, "Failed to execute 'getAll' on 'FormData'");
    const key = idl.usvString(name);
    const values = [];
    for (let i = 0; i < list.length; i++) if (list[i][0] === key) values[values.length] = list[i][1];
    return values;
  }

  has(name) {
    const list = this.#list;
    idl.required(arguments, 1, "Failed to execute 'has' on 'FormData'");
    const key = idl.usvString(name);
    for (let i = 0; i < list.length; i++) if (list[i][0] === key) return true;
    return false;
  }

  set(name, value, filename = undefined) {
    const list = this.#list;
    const made = entry(arguments, "set", filename);
    let at = 0;
    while (at < list.length && list[at][0] !== made[0]) at++;
    removeAll(list, made[0]);
    p.arraySplice(list, at, 0, made);
  }
}
idl.iface(FormData, "FormData");
idl.pairIterable(FormData, "FormData", (form, index) => {
  if (!isFormData(form)) throw new p.TypeError("The receiver is not a FormData object");
  return listOf(form)[index];
});

function removeAll(list, name) {
  let kept = 0;
  for (let i = 0; i < list.length; i++) if (list[i][0] !== name) list[kept++] = list[i];
  list.length = kept;
}

/** "Create an entry" of the arguments of `append` or `set`. */
function entry(args, method, filename) {
  const where = `Failed to execute '${method}' on 'FormData'`;
  idl.required(args, 2, where);
  const name = idl.usvString(args[0]);
  const value = args[1];
  if (!blobs.isBlob(value)) {
    if (args.length > 2) throw new p.TypeError(`${where}: only a Blob can have a file name`);
    return [name, idl.usvString(value)];
  }
  if (filename !== undefined) return [name, blobs.asFile(value, idl.usvString(filename))];
  return [name, blobs.isFile(value) ? value : blobs.asFile(value, "blob")];
}

function withCrlf(text) {
  return replaceEach(text, /\r\n?|\n/g, () => "\r\n");
}

const ESCAPES = { __proto__: null, "\r": "%0D", "\n": "%0A", '"': "%22" };
function escaped(text) {
  return replaceEach(text, /[\r\n"]/g, (found) => ESCAPES[found]);
}

function replaceEach(text, pattern, by) {
  let result = "";
  let start = 0;
  for (let match; (match = p.regExpExec(pattern, text)) !== null; start = pattern.lastIndex) {
    result += p.stringSlice(text, start, match.index) + by(match[0]);
  }
  return result + p.stringSlice(text, start);
}

/** The form as `{ blob, type }`. */
function encode(form) {
  const random = new p.Uint8Array(12);
  ops.randomFill(random);
  const boundary = `----lethe-form-${ops.base64UrlEncode(random)}`;
  const parts = [];
  const list = listOf(form);
  for (let i = 0; i < list.length; i++) {
    const { 0: name, 1: value } = list[i];
    const head = `--${boundary}\r\nContent-Disposition: form-data; name="${escaped(withCrlf(name))}"`;
    if (typeof value === "string") {
      parts[parts.length] = `${head}\r\n\r\n${withCrlf(value)}\r\n`;
    } else {
      const type = blobs.typeOf(value) || "application/octet-stream";
      parts[parts.length] = `${head}; filename="${escaped(value.name)}"\r\nContent-Type: ${type}\r\n\r\n`;
      parts[parts.length] = value;
      parts[parts.length] = "\r\n";
    }
  }
  parts[parts.length] = `--${boundary}--\r\n`;
  return { blob: blobs.fromParts(parts), type: `multipart/form-data; boundary=${boundary}` };
}

/** A form of entries that came from the network. */
function fromEntries(entries) {
  const form = new FormData();
  const list = listOf(form);
  for (let i = 0; i < entries.length; i++) list[i] = entries[i];
  return form;
}

const exports = { FormData, isFormData, encode, fromEntries };
lethe.use("evaluated").form_data = exports;
return exports;
