"""The page's style sheet: light and dark, narrow and wide, screen and paper. It names nothing outside of the page."""

__all__ = ["STYLE"]

#: Colours of marks and bars have at least 3:1 against the page, and text has 4.5:1, in light and in dark.
STYLE = """
:root { color-scheme: light dark;
  --page: #ffffff; --ink: #1c1c1c; --soft: #595959; --rule: #d6d6d6; --panel: #f5f5f3;
  --table: #1f6fb2; --gate: #b3530a; --board: #2b7d3c; --model: #8a4fa3;
  --c1: #1f6fb2; --c2: #7d8ea3; --c3: #b3530a; --c4: #2b7d3c; --c5: #8a4fa3; --c6: #8c6d00; --c7: #3d7f80; }
@media (prefers-color-scheme: dark) { :root {
  --page: #16181b; --ink: #ececec; --soft: #b0b0b0; --rule: #3a3d42; --panel: #1f2226;
  --table: #6cb2ee; --gate: #f29a52; --board: #6cc47c; --model: #cf9ae6;
  --c1: #6cb2ee; --c2: #8595aa; --c3: #f29a52; --c4: #6cc47c; --c5: #cf9ae6; --c6: #d8b63c; --c7: #63c2c2; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 1rem; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0.5rem 0; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 0.25rem; border-bottom: 1px solid var(--rule); }
h3 { font-size: 1rem; margin: 1.25rem 0 0.25rem; }
p { margin: 0.5rem 0; }
a { color: var(--table); }
code { font: 0.9em ui-monospace, monospace; overflow-wrap: anywhere; }
.soft, figcaption { color: var(--soft); font-size: 0.875rem; }
.note { background: var(--panel); border-left: 4px solid var(--gate); padding: 0.5rem 0.75rem; }
.plot { display: block; margin: 0.5rem 0; overflow: visible; font: 12px system-ui, sans-serif; }
.plot text { fill: var(--ink); }
.plot text.tick { fill: var(--soft); }
.plot text.head { font-weight: 600; font-size: 13px; }
.plot text.number { font-variant-numeric: tabular-nums; font-weight: 600; paint-order: stroke; stroke: var(--page); stroke-width: 3px; stroke-linejoin: round; }
.grid, .rail { stroke: var(--rule); stroke-width: 1; }
.one { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 4 3; }
.range { stroke-width: 2; }
.trace { fill: none; stroke-width: 2; stroke-linejoin: round; }
.flow-1 { stroke: var(--gate); } .flow-2 { stroke: var(--gate); stroke-dasharray: 6 4; }
.table { stroke: var(--table); } .gate { stroke: var(--gate); } .board { stroke: var(--board); } .model { stroke: var(--model); }
.fill { stroke: var(--page); stroke-width: 1; }
.fill.table { fill: var(--table); } .fill.gate { fill: var(--gate); } .fill.board { fill: var(--board); } .fill.model { fill: var(--model); }
.part-1, rect.line-1 { fill: var(--c1); } .part-2, rect.line-2 { fill: var(--c2); } .part-3, rect.line-3 { fill: var(--c3); }
.part-4, rect.line-4 { fill: var(--c4); } .part-5, rect.line-5 { fill: var(--c5); } .part-6, rect.line-6 { fill: var(--c6); } .part-7, rect.line-7 { fill: var(--c7); }
rect[class^="part"] { stroke: var(--page); stroke-width: 1; }
path.line-1 { stroke: var(--c1); } path.line-2 { stroke: var(--c3); stroke-dasharray: 7 3; } path.line-3 { stroke: var(--c4); stroke-dasharray: 2 3; }
path.line-4 { stroke: var(--c5); stroke-dasharray: 9 3 2 3; } path.line-5 { stroke: var(--c6); } path.line-6 { stroke: var(--c7); } path.line-7 { stroke: var(--c2); }
rect.line-2 { fill: var(--c3); } rect.line-3 { fill: var(--c4); } rect.line-4 { fill: var(--c5); } rect.line-5 { fill: var(--c6); } rect.line-6 { fill: var(--c7); } rect.line-7 { fill: var(--c2); }
ul.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 0.25rem 1rem; padding: 0; margin: 0.5rem 0; font-size: 0.875rem; }
ul.legend svg { vertical-align: -2px; }
ol.keys { font-size: 0.875rem; padding-left: 2.2rem; columns: 22rem; column-gap: 2rem; }
figure { margin: 1rem 0; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); gap: 1rem 2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 0.875rem; margin: 0.5rem 0 1rem; }
caption { text-align: left; font-weight: 600; padding: 0.5rem 0; }
th, td { text-align: left; vertical-align: top; padding: 0.3rem 0.5rem 0.3rem 0; border-bottom: 1px solid var(--rule); }
th { color: var(--soft); font-weight: 600; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td small { color: var(--soft); overflow-wrap: anywhere; }
td.number small { display: block; }
td .level { display: inline-block; padding: 0 0.4em; border: 1px solid currentColor; border-radius: 0.6em; font-size: 0.75rem; }
.level-table { color: var(--table); } .level-gate { color: var(--gate); } .level-board { color: var(--board); } .level-model { color: var(--model); }
summary { cursor: pointer; font-weight: 600; padding: 0.25rem 0; }
@media print {
  :root { color-scheme: light; --page: #ffffff; --ink: #000000; --soft: #444444; --rule: #bbbbbb; --panel: #ffffff;
    --table: #1f6fb2; --gate: #b3530a; --board: #2b7d3c; --model: #8a4fa3;
    --c1: #1f6fb2; --c2: #7d8ea3; --c3: #b3530a; --c4: #2b7d3c; --c5: #8a4fa3; --c6: #8c6d00; --c7: #3d7f80; }
  body { max-width: none; padding: 0; font-size: 11pt; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .plot, tr, li { break-inside: avoid; }
  #ladder-figure .plot { break-inside: auto; }
  h2, h3, caption { break-after: avoid; }
  details::details-content { content-visibility: visible; height: auto; }
  .scroll { overflow: visible; }
}
"""
