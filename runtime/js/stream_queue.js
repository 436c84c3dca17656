// The queue-with-sizes of the Streams standard, and what all streams share: strategies' numbers and how an underlying
// source's or sink's methods are called.
"use strict";

const p = lethe.use("primordials");
const idl = lethe.use("webidl");

// Elements are taken from `head` on; the front of the array is cut off when half of it is spent.
function make() {
  return { items: [], head: 0, total: 0 };
}

function isEmpty(queue) {
  return queue.head === queue.items.length;
}

function push(queue, value, size) {
  const number = +size;
  if (!(number >= 0) || number === Infinity) {
    throw new p.RangeError(`The size of a chunk must be a finite, non-negative number, not ${number}`);
  }
  queue.items[queue.items.length] = { value, size: number };
  queue.total += number;
}

function peek(queue) {
  return queue.items[queue.head].value;
}

function shift(queue) {
  const { items, head } = queue;
  const { value, size } = items[head];
  items[head] = undefined;
  queue.head++;
  if (queue.head === items.length) {
    queue.items = [];
    queue.head = 0;
  } else if (queue.head > 64 && queue.head * 2 > items.length) {
    queue.items = p.arraySlice(items, queue.head);
    queue.head = 0;
  }
  queue.total -= size;
  if (queue.total < 0) queue.total = 0;
  return value;
}

function reset(queue) {
  queue.items = [];
  queue.head = 0;
  queue.total = 0;
}

/** A `QueuingStrategy` argument: its members are read and converted, in order. */
function strategy(value, where) {
  const { highWaterMark, size } = idl.dictionary(value, where);
  const mark = highWaterMark === undefined ? undefined : +highWaterMark;
  if (size !== undefined) idl.callback(size, `${where}: size`);
  return { highWaterMark: mark, size };
}

function highWaterMark(read, otherwise) {
  const mark = read.highWaterMark;
  if (mark === undefined) return otherwise;
  if (!(mark >= 0)) throw new p.RangeError(`A highWaterMark must be a non-negative number, not ${mark}`);
  return mark;
}

/** The strategy's `size` as a plain function of the chunk. */
function sizeAlgorithm({ size }) {
  return size === undefined ? one : (chunk) => +p.apply(size, undefined, [chunk]);
}
function one() {
  return 1;
}

/** A member of an underlying object that must be a function if it is there. */
function method(object, name, where) {
  const member = object[name];
  return member === undefined ? undefined : idl.callback(member, `${where}: ${name}`);
}

/** A promise of what a method of an underlying object returns; undefined methods succeed at once. */
function invoke(fn, self, args) {
  if (fn === undefined) return p.promiseResolve();
  try {
    return p.promiseResolve(p.apply(fn, self, args));
  } catch (error) {
    return p.promiseReject(error);
  }
}

/** Reactions to a promise whose own outcome nobody looks at. */
function upon(promise, fulfilled, rejected) {
  p.promiseThen(promise, fulfilled, rejected);
}

function microtask(task) {
  p.promiseThen(p.promiseResolve(), task);
}

return {
  make,
  isEmpty,
  push,
  peek,
  shift,
  reset,
  strategy,
  highWaterMark,
  sizeAlgorithm,
  one,
  method,
  invoke,
  upon,
  microtask,
};
