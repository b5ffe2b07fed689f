// Runs inside a copy of a report: collects faults and sends them to the page that shows the copy in a frame.
const faults = [];
addEventListener("error", event => faults.push("error: " + event.message));
addEventListener("securitypolicyviolation", event => faults.push("request: " + event.blockedURI));
console.error = console.warn = (...words) => faults.push("console: " + words.join(" "));

const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
function rgba(color) {
  canvas.clearRect(0, 0, 1, 1);
  canvas.fillStyle = color;
  canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
}
function luminance(color) {
  const [r, g, b] = color.map(value => value / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function contrast(one, other) {
  const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}
function background(element) {
  for (let e = element; e; e = e.parentElement) {
    const color = rgba(getComputedStyle(e).backgroundColor);
    if (color[3] === 255) return color;
  }
  return [255, 255, 255, 255];
}
function describe(element) {
  return `<${element.tagName.toLowerCase()} class="${element.getAttribute("class") || ""}"> ${element.textContent.trim().slice(0, 40)}`;
}
function checkText(element) {
  const style = getComputedStyle(element), inSvg = element instanceof SVGElement;
  const ratio = contrast(rgba(inSvg ? style.fill : style.color), background(element));
  if (ratio < 4.5) faults.push(`contrast ${ratio.toFixed(2)}: ${describe(element)}`);
  const scale = inSvg ? element.getScreenCTM().a : 1, size = parseFloat(style.fontSize) * scale;
  if (size < 9) faults.push(`text of ${size.toFixed(1)} px: ${describe(element)}`);
}
addEventListener("load", () => {
  const width = document.documentElement.clientWidth;
  for (const element of document.body.querySelectorAll("*")) {
    const scrolls = element.closest(".scroll, pre"), box = element.getBoundingClientRect();
    if (box.width && !scrolls && (box.right > width + 0.5 || box.left < -0.5)) faults.push("overflow: " + describe(element));
    const text = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
    if (text && box.width && element.tagName !== "title") checkText(element);
    if (element.matches("svg[role=img]:not([aria-label]), img:not([alt]), svg:not([role]):not([aria-hidden])"))
      faults.push("no text alternative: " + describe(element));
  }
  for (const path of document.querySelectorAll("svg .l, svg .m, svg .i")) {
    const color = getComputedStyle(path)[path.matches(".m") && !path.closest(".faint") ? "fill" : "stroke"];
    const ratio = contrast(rgba(color), background(path));
    if (ratio < 3) faults.push(`contrast of a line ${ratio.toFixed(2)}: ${color}`);
  }
  if (document.documentElement.scrollWidth > width) faults.push("the page scrolls sideways");
  if (performance.getEntriesByType("resource").length) faults.push("a resource was loaded");
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  parent.postMessage({id: window.name, width, dark, panels: document.querySelectorAll("svg.panel").length, faults}, "*");
});
