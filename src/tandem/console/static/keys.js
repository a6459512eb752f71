// Keys of a page: an element with data-key="x" is pressed, followed or focused by that key. Works on what the page has; knows no page.
"use strict";
document.addEventListener("keydown", (event) => {
  const field = event.target.closest("textarea, input:not([type=hidden]), select");
  if (field) {
    if (event.key === "Escape") field.blur();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      press(field.form?.querySelector("button[value=wrong]"));
    }
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const found = document.querySelector(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
  if (!found) return;
  event.preventDefault();
  if (found.matches("textarea, input")) found.focus();
  else press(found);
});

let sent = false;
function press(element) {
  if (!element || sent) return; // a second key must not judge what comes next unseen
  sent = element.matches("button");
  element.click();
}
