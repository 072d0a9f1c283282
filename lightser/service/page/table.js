// Segments as a table, and as files to keep.

const FIELDS = ["start", "end", "label", "confidence"];

export function fillTable(table, labels, segments) {
  const head = document.createElement("tr");
  head.append(...["from", "to", "emotion", ...labels].map((name) => cell("th", name)));
  head.querySelectorAll("th").forEach((th) => (th.scope = "col"));
  table.tHead.replaceChildren(head);
  table.tBodies[0].replaceChildren(
    ...segments.map(({ start, end, label, probabilities }) => {
      const row = document.createElement("tr");
      row.append(
        cell("td", `${start.toFixed(2)} s`),
        cell("td", `${end.toFixed(2)} s`),
        cell("td", label),
        ...labels.map((name) => cell("td", probabilities[name]?.toFixed(3) ?? "")),
      );
      return row;
    }),
  );
}

function cell(tag, text) {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}

export function asCsv(labels, segments) {
  const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const rows = segments.map((segment) => [
    ...FIELDS.map((field) => segment[field]),
    ...labels.map((label) => segment.probabilities[label] ?? ""),
  ]);
  return [[...FIELDS, ...labels], ...rows].map((row) => row.map((v) => quoted(String(v))).join(",") + "\n").join("");
}

/** Let the browser save a text as a file. */
export function save(name, kind, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: kind }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}
