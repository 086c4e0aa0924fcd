// Elements of the page. All text goes through textContent: what a prompt or a model
// name says never becomes markup.

// element makes an element: attributes, listeners (onclick: f), then children. Null
// and undefined children are left out.
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) {
      made.addEventListener(name.slice(2), value);
    } else if (name in made && typeof value !== "string") {
      made[name] = value;
    } else {
      made.setAttribute(name, value);
    }
  }
  made.append(...children.filter(child => child !== null && child !== undefined));
  return made;
}

export const byId = id => document.getElementById(id);

// heading, paragraph and cell are the parts of the side panel.
export const heading = text => element("h2", {}, text);
export const paragraph = text => element("p", {}, text);
export const cell = content => element("td", {}, content);
export const numberCell = text => element("td", { class: "n" }, text);
export const headerCell = text => element("th", {}, text);
export const numberHeader = text => element("th", { class: "n" }, text);

// pickRow is a table row that can be clicked.
export const pickRow = (pick, ...cells) => element("tr", { class: "pick", onclick: pick }, ...cells);

// status writes the line at the bottom; bad marks an error.
export function status(text, bad = false) {
  byId("status").textContent = text;
  byId("status").classList.toggle("bad", bad);
}

// css returns a color of the theme by the name of its variable.
export const css = name =>
  getComputedStyle(document.documentElement)
    .getPropertyValue("--" + name)
    .trim();

export const isDark = () => document.documentElement.dataset.theme === "dark";

// locate returns where in an element an event happened.
export function locate(target, event) {
  const box = target.getBoundingClientRect();
  return { x: event.clientX - box.left, y: event.clientY - box.top };
}
