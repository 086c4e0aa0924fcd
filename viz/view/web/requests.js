// Requests to the server. Answers are kept, so equal requests are sent once.

const answers = new Map(); // by address, the least recently used first
const mostAnswers = 400;

// api requests a path of the server's API: JSON, or with binary float32 values.
export function api(path, params = {}, binary = false) {
  const url = "api/" + path + "?" + new URLSearchParams(params);
  if (answers.has(url)) {
    const answer = answers.get(url);
    answers.delete(url);
    answers.set(url, answer);
    return answer;
  }
  const answer = request(url, binary);
  answers.set(url, answer);
  answer.catch(() => answers.delete(url));
  if (answers.size > mostAnswers) {
    answers.delete(answers.keys().next().value);
  }
  return answer;
}

async function request(url, binary) {
  const response = await fetch(url).catch(error => {
    dispatchEvent(new Event("requestfailed")); // gone.js finds out whether the server is there
    throw new Error(`the viewer does not answer: ${error.message}`);
  });
  if (!response.ok) {
    const { error } = await response.json().catch(() => ({}));
    throw new Error(error || response.status + " " + response.statusText);
  }
  return binary ? new Float32Array(await response.arrayBuffer()) : response.json();
}

// tokens requests the texts of a prompt's tokens.
export const tokens = (capture, prompt) => api("tokens", { c: capture, p: prompt });

// collect calls ask for every item of a list, a few at a time, and each with the item
// and the answer. It stops when alive returns false.
export async function collect(items, ask, each, alive, together = 3) {
  const rest = [...items];
  const work = async () => {
    while (rest.length && alive()) {
      const item = rest.shift();
      const answer = await ask(item);
      if (alive()) {
        each(item, answer);
      }
    }
  };
  await Promise.all(Array.from({ length: together }, work));
}
