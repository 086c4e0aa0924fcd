// Finds the parts of pages in which all words of the query occur. searchIndex has
// [url, title of the page, heading, text] for each part.
"use strict";

const most = 40; // results that are shown
const around = 90; // characters that are shown before and after the first word

function wordsOf(query) {
  return query.toLowerCase().split(/\s+/).filter(Boolean);
}

// score says how well a part answers; 0 if a word is missing. Titles count more than
// headings, and those more than text.
function score(part, words) {
  const [, title, heading, text] = part.map((s) => s.toLowerCase());
  let sum = 0;
  for (const word of words) {
    const here = (title.includes(word) ? 20 : 0) + (heading.includes(word) ? 12 : 0) + Math.min(text.split(word).length - 1, 5);
    if (here === 0) return 0;
    sum += here;
  }
  const phrase = words.join(" ");
  if ((heading || title) === phrase) sum += 40;
  if (words.length > 1 && text.includes(phrase)) sum += 6;
  return sum;
}

function find(query) {
  const words = wordsOf(query);
  if (words.length === 0) return [];
  return searchIndex
    .map((part) => ({ part, points: score(part, words) }))
    .filter((r) => r.points > 0)
    .sort((a, b) => b.points - a.points)
    .map((r) => r.part);
}

// excerpt returns the text around the first word, with all words marked.
function excerpt(text, words) {
  const lower = text.toLowerCase();
  const first = Math.min(...words.map((w) => lower.indexOf(w)).filter((i) => i >= 0), text.length);
  const near = first === text.length ? 0 : Math.max(0, first - around);
  const from = near === 0 ? 0 : text.indexOf(" ", near) + 1;
  const end = text.lastIndexOf(" ", from + 2 * around);
  const to = from + 2 * around >= text.length || end <= first ? text.length : end;
  const p = document.createElement("p");
  if (from > 0) p.append("… ");
  let at = from;
  while (at < to) {
    let next = to;
    let length = 0;
    for (const w of words) {
      const i = lower.indexOf(w, at);
      if (i >= 0 && i < next) {
        next = i;
        length = w.length;
      }
    }
    p.append(text.slice(at, next));
    if (length > 0) {
      const mark = document.createElement("mark");
      mark.textContent = text.slice(next, next + length);
      p.append(mark);
    }
    at = next + length;
  }
  if (at < text.length) p.append(" …");
  return p;
}

function show(query) {
  const found = find(query);
  const words = wordsOf(query);
  const list = document.getElementById("results");
  list.replaceChildren();
  for (const [url, title, heading, text] of found.slice(0, most)) {
    const item = document.createElement("li");
    const a = document.createElement("a");
    a.href = url;
    a.textContent = heading ? `${title}: ${heading}` : title;
    item.append(a, excerpt(text, words));
    list.append(item);
  }
  let message = "Type one or more words.";
  if (words.length > 0) {
    const shown = found.length > most ? `, the first ${most} of them below` : "";
    message = found.length === 0 ? `Nothing has the words “${query}”.` : `${found.length} ${found.length === 1 ? "place" : "places"} for “${query}”${shown}.`;
  }
  document.getElementById("found").textContent = message;
}

const box = document.querySelector("header input");
box.value = new URLSearchParams(location.search).get("q") || "";
box.addEventListener("input", () => show(box.value));
box.focus();
show(box.value);
