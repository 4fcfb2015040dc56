#include "cli/report/style.h"

namespace reprise::cli {

// What stays through a step is grey. Forward and activations share a colour, so do replay and what it
// recomputes, backward and gradients, the optimiser and its state. The colours were chosen so that areas that
// can touch stay apart for readers who see no red, no green or no blue; what is computed again is striped.
std::string_view page_style() {
  return R"css(
:root{color-scheme:light dark;--ground:#fff;--raised:#f6f8fa;--ink:#1b2026;--soft:#57606a;--line:#d8dee4;--axis:#8a949e;
--parameters:#2c3340;--optimiser:#7e8893;--other:#c5cad0;--gradients:#186b3f;--activations:#4cabfc;--recomputed:#f17b15;
--workspace:#af3bab;--bad:#b3261e;--link:#0b5cad}
@media screen and (prefers-color-scheme:dark){:root{--ground:#0f1318;--raised:#171c22;--ink:#e8ebee;--soft:#a3adb8;
--line:#2b323a;--axis:#6b7783;--parameters:#939aa3;--optimiser:#555c65;--other:#35393f;--gradients:#7ad39b;
--activations:#207abb;--recomputed:#f2790e;--workspace:#f899fc;--bad:#ff8a80;--link:#7cb8ff}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);overflow-wrap:break-word;
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue","DejaVu Sans",sans-serif;
font-variant-numeric:tabular-nums;-webkit-text-size-adjust:100%}
main{max-width:74rem;margin:0 auto;padding:clamp(1rem,4vw,3rem) clamp(1rem,4vw,2.5rem) 4rem}
h1{font-size:clamp(1.5rem,5vw,2.1rem);line-height:1.2;margin:0 0 .5rem;letter-spacing:-.01em}
h2{font-size:1.3rem;line-height:1.3;margin:3rem 0 .4rem}
h3{font-size:1rem;margin:1.6rem 0 .4rem}
p{margin:.3rem 0}
small{font-size:.8125em;color:var(--soft);font-weight:400}
a{color:var(--link)}
.about,.soft,caption span{color:var(--soft)}
.soft{max-width:46rem;font-size:.9rem}
.result{font-size:clamp(1.1rem,3.4vw,1.35rem);line-height:1.35;margin:1.2rem 0 .3rem;font-weight:600;text-wrap:balance}
.bad{color:var(--bad);font-weight:600}
.unseen{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
.scroll{overflow-x:auto;margin:.8rem 0}
table{border-collapse:collapse;width:100%;font-size:.8125rem}
caption{text-align:left;padding:.3rem 0;line-height:1.4}
th,td{padding:.38rem .45rem;text-align:left;border-bottom:1px solid var(--line);vertical-align:top}
thead th{font-weight:600;line-height:1.25;vertical-align:bottom}
thead small{display:block}
tbody th{font-weight:600}
.number{text-align:right;white-space:nowrap}
.scroll td{white-space:nowrap}
.scroll th:first-child{padding-left:0}.scroll td:last-child{padding-right:0}.scroll th:last-child{padding-right:0}
.legend{display:flex;flex-wrap:wrap;gap:.3rem 1.1rem;list-style:none;margin:.8rem 0;padding:0;font-size:.875rem}
.legend li{display:flex;align-items:center;gap:.4rem}
.panel{margin:1.4rem 0 0;padding-top:.9rem;border-top:1px solid var(--line)}
figcaption{display:flex;flex-wrap:wrap;align-items:baseline;gap:.1rem .9rem;margin-bottom:.7rem}
figcaption h3{margin:0;font-size:1.05rem}
figcaption p{margin:0;font-size:.875rem;color:var(--soft);min-width:0}
figcaption b{color:var(--ink)}
figcaption .bad{color:var(--bad)}
.plot{position:relative;padding-left:4.6rem}
.bytes span{position:absolute;left:0;width:4.2rem;text-align:right;transform:translateY(-50%);
font-size:.75rem;line-height:1;color:var(--soft);white-space:nowrap}
svg{display:block}
.memory{overflow:visible}
.memory text{font-size:12px;fill:var(--soft)}
.memory .strong{font-weight:650}
.memory .strong,.memory .name{fill:var(--ink);stroke:var(--ground);stroke-width:3.5px;stroke-linejoin:round;
paint-order:stroke}
.start{text-anchor:start}.middle{text-anchor:middle}.end{text-anchor:end}
.grid{stroke:var(--line)}.axis{stroke:var(--axis)}
line.peak{stroke:var(--ink);stroke-dasharray:2 3}
circle.peak{fill:var(--ground);stroke:var(--ink);stroke-width:2}
.areas path{vector-effect:non-scaling-stroke;stroke-width:1px;stroke-linejoin:round}
.parameters{fill:var(--parameters);stroke:var(--parameters)}
.optimiser{fill:var(--optimiser);stroke:var(--optimiser)}
.other{fill:var(--other);stroke:var(--other)}
.gradients,.backward{fill:var(--gradients);stroke:var(--gradients)}
.activations,.forward{fill:var(--activations);stroke:var(--activations)}
.recomputed{fill:url(#stripes);stroke:var(--recomputed)}
.areas .recomputed{fill:url(#stretched-stripes)}
.replay{fill:url(#stripes);stroke:none}
.bands .replay{fill:url(#band-stripes)}
.workspace{fill:var(--workspace);stroke:var(--workspace)}
.bands path,rect{stroke:none}
.base{fill:var(--recomputed)}.stripe{fill:var(--ground);fill-opacity:.5}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,27rem),1fr));gap:1.2rem 2.5rem}
.bars th,.bars td{border:0;padding:.14rem 0;vertical-align:middle}
.bars tbody th{font-weight:400;width:34%;padding-right:.7rem;line-height:1.25;overflow-wrap:anywhere}
.bars td.number{padding-left:.6rem;width:1%}
.bars caption{border-top:1px solid var(--line);padding-top:.7rem}
.values td:nth-child(2),.values td:nth-child(3){white-space:normal;overflow-wrap:anywhere}
.values{margin-bottom:1.2rem}
.cursor{position:absolute;top:0;width:1px;background:var(--ink);pointer-events:none}
.tip{position:absolute;z-index:1;pointer-events:none;background:var(--raised);color:var(--ink);font-size:.75rem;
line-height:1.5;border:1px solid var(--line);border-radius:6px;padding:.35rem .6rem;white-space:pre;
box-shadow:0 2px 8px #0003}
@media screen and (max-width:48rem){
.roomy{display:none}
.plot{padding-left:3.9rem}
.bytes span{width:3.6rem;font-size:.6875rem}
.scroll:not(:has(.values)) th:first-child{position:sticky;left:0;background:var(--ground);padding-right:.8rem}
.values,.values tbody,.values caption{display:block}
.values thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
.values tr{display:block;position:relative;padding:.5rem 0 .5rem 6.2rem;border-bottom:1px solid var(--line)}
.values th,.values td{border:0;padding:0;white-space:normal;overflow-wrap:anywhere}
.values tbody th{position:absolute;left:0;width:5.5rem}
.values td{display:inline-block;font-size:.8125rem;color:var(--soft);margin-right:.6rem}
.values td:nth-child(2){display:block;font-size:inherit;color:inherit}
.values td:empty{display:none}
.values td:last-child::before{content:attr(data-name) " "}}
@media print{
:root{color-scheme:light}
body{font-size:10.5pt}
main{max-width:none;padding:0}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}
h2,h3,caption,figcaption{break-after:avoid}
.panel,tr,.bars{break-inside:avoid}
.scroll{overflow:visible}
.scroll table{font-size:7.5pt}
.scroll th,.scroll td{padding:.25rem .3rem}}
)css";
}

// One pattern in pixels, one each for the view boxes that are stretched: stripes lie along the stretch, which
// leaves them as they are.
std::string_view page_patterns() {
  return R"svg(<svg width="0" height="0" style="position:absolute" aria-hidden="true"><defs>
<pattern id="stripes" width="6" height="6" patternUnits="userSpaceOnUse"><rect class="base" width="6" height="6"/><rect class="stripe" y="1" width="6" height="2"/></pattern>
<pattern id="stretched-stripes" width="10000" height="316" patternUnits="userSpaceOnUse"><rect class="base" width="10000" height="316"/><rect class="stripe" y="53" width="10000" height="105"/></pattern>
<pattern id="band-stripes" width="10000" height="5000" patternUnits="userSpaceOnUse"><rect class="base" width="10000" height="5000"/><rect class="stripe" y="1500" width="10000" height="2000"/></pattern>
</defs></svg>
)svg";
}

}  // namespace reprise::cli
