// Functions that are called too often are run less often.

// later returns a function that runs f once the calls have paused for some
// milliseconds, with the arguments of the last call.
export function later(f, milliseconds) {
  let timer = 0;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => f(...args), milliseconds);
  };
}

// paced returns a function that runs f soon, and while calls keep coming at most once
// in some milliseconds. Its stop cancels a run that has not begun.
export function paced(f, milliseconds) {
  let timer = 0;
  let last = -milliseconds;
  const run = () => {
    timer = 0;
    last = performance.now();
    f();
  };
  const call = () => {
    timer ||= setTimeout(run, Math.max(0, last + milliseconds - performance.now()));
  };
  const stop = () => {
    clearTimeout(timer);
    timer = 0;
  };
  return Object.assign(call, { stop });
}
