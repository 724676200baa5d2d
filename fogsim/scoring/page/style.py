"""The page's style sheet: two grounds, one column of text, small multiples that wrap on a phone."""

from __future__ import annotations

from fogsim.scoring.page.palette import COLOURS


def variables(ground: int) -> str:
    """The palette on paper (0) or on a dark ground (1)."""
    return "".join(f"--{name}:{pair[ground]};" for name, pair in COLOURS.items())


STYLE = f""":root{{{variables(0)}color-scheme:light dark}}
@media (prefers-color-scheme:dark){{:root{{{variables(1)}}}}}
""" + """
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);
  font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main{max-width:76rem;margin:0 auto;padding:clamp(1.2rem,4vw,3.5rem) clamp(1rem,4vw,3rem)}
h1{font-size:clamp(1.7rem,4vw,2.4rem);font-weight:300;letter-spacing:-.015em;line-height:1.15;margin:0 0 1.4rem}
h2{font-size:1.2rem;font-weight:600;letter-spacing:-.005em;margin:0 0 .3rem}
p{margin:.2rem 0 .6rem;max-width:48rem}
section{margin-top:3rem;padding-top:1.4rem;border-top:1px solid var(--rule)}
.says{font-size:1.05rem}
.reading,footer,.notes,figcaption span{color:var(--muted);font-size:.85rem}
.reading{line-height:1.45;margin-bottom:1rem}
.facts{display:flex;flex-wrap:wrap;gap:.8rem 2.6rem;margin:0 0 1.2rem;padding:0}
.facts div{display:flex;flex-direction:column-reverse}
.facts dt{color:var(--muted);font-size:.85rem}
.facts dd{margin:0;font-size:1.7rem;font-weight:300;line-height:1.2;font-variant-numeric:tabular-nums}
.notes{margin:0;padding:0;list-style:none;max-width:60rem;overflow-wrap:anywhere}
.shown{display:flex;flex-wrap:wrap;gap:0 2.5rem;align-items:center}
.panels{display:grid;margin-top:1rem;flex:1 1 22rem;min-width:0}
.small{gap:1.4rem 1.1rem;grid-template-columns:repeat(auto-fill,minmax(min(100%,12.6rem),1fr))}
.wide{gap:1.6rem 2rem;grid-template-columns:repeat(auto-fill,minmax(min(100%,26rem),1fr))}
figure{margin:0;break-inside:avoid;max-width:38rem}
figcaption{display:flex;flex-direction:column;line-height:1.35;margin-bottom:.3rem;overflow-wrap:anywhere}
figcaption b{font-weight:600}
figcaption span{font-variant-numeric:tabular-nums;font-size:.75rem}
svg{display:block;width:100%;height:auto;overflow:visible}
svg *{stroke-linejoin:round;stroke-linecap:butt}
svg text{font-family:inherit!important}
.scroll{overflow-x:auto;margin-top:1rem;max-width:100%}
table{border-collapse:collapse;font-size:.88rem;font-variant-numeric:tabular-nums;white-space:nowrap}
th,td{padding:.38rem 0 .38rem 1.3rem;text-align:right;font-weight:400}
th{color:var(--muted);font-size:.8rem;border-bottom:1px solid var(--rule)}
td{border-bottom:1px solid var(--band)}
th:first-child,td:first-child{padding-left:0;text-align:left;position:sticky;left:0;background:var(--ground)}
td:first-child{font-weight:600}
footer{margin-top:3rem;padding-top:1rem;border-top:1px solid var(--rule);overflow-wrap:anywhere}
footer p{max-width:none}
code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:.95em}
@media (max-width:600px){
  .small{grid-template-columns:1fr 1fr;gap:1.2rem .8rem}
  .small svg text{font-size:12.5px!important}
  .wide svg text{font-size:11px!important}
}
@page{size:A4;margin:14mm}
@media print{
  :root{PAPER}
  html{font-size:12px}
  body{font-size:1rem;background:none}
  main{max-width:none;padding:0}
  section{margin-top:1.2rem;padding-top:.7rem;break-inside:avoid}
  h2,.says,.reading{break-after:avoid}
  .small{grid-template-columns:repeat(4,1fr);gap:.8rem}
  .small svg text{font-size:12px!important}
  .wide{grid-template-columns:repeat(2,1fr)}
  .scroll{overflow:visible}
  table{break-inside:avoid}
  th,td{padding:.2rem 0 .2rem 1.2rem}
}
""".replace("PAPER", variables(0))
