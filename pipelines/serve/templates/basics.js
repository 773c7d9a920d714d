"use strict";
const $ = id => document.getElementById(id);

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}
/* How things go, or what is wrong: the latter is brought to where it is seen, and read out at once. */
function say(text, bad = false) {
  $("status").textContent = bad ? "" : text;
  $("error").textContent = bad ? text : "";
  if (bad) $("error").scrollIntoView({ block: "nearest" });
}
const rounded = (value, digits = 3) => value === null ? null : value.toFixed(digits);
