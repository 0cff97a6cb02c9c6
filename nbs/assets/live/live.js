// Draws with a generator in the reader's browser. Everything comes from this folder, and only when the button is pressed; where the
// browser cannot, what the page shows beforehand stays.
const here = name => new URL(name, import.meta.url)

async function bytes(name) {
  const answer = await fetch(here(name))
  if (!answer.ok) throw new Error(`${name}: ${answer.status}`)
  return answer
}

async function unpacked(name) { // some servers unpack it on the way
  const packed = await (await bytes(name)).blob(), start = new Uint8Array(await packed.slice(0, 2).arrayBuffer())
  if (start[0]!==0x1f || start[1]!==0x8b) return packed.arrayBuffer()
  return new Response(packed.stream().pipeThrough(new DecompressionStream('gzip'))).arrayBuffer()
}

async function opened() { // What is known of the generator, and something that draws with it
  const [ort, facts, program, weights] = await Promise.all([
    import(here('ort.wasm.bundle.min.mjs')), bytes('generator.json').then(o => o.json()),
    unpacked('ort-wasm-simd-threaded.wasm.gz'), bytes('generator.onnx').then(o => o.arrayBuffer())])
  Object.assign(ort.env.wasm, {numThreads: 1, wasmBinary: program})
  const session = await ort.InferenceSession.create(weights)
  const draw = async w => (await session.run({w: new ort.Tensor('float32', w, [1, facts.layers, facts.average.length])})).images
  return {facts, draw}
}

// The styles of all layers: mix two faces, pull towards the average, go along directions
export function styles({layers, average, seeds, directions}, {face, other, from, psi, ...moves}) {
  const w = new Float32Array(layers*average.length)
  for (let l = 0, k = 0; l<layers; l++) average.forEach((mean, i) => {
    const own = seeds[l<from ? face : other][i]
    w[k++] = mean+psi*(own-mean)+Object.entries(moves).reduce((sum, [name, amount]) => sum+amount*directions[name][i], 0)
  })
  return w
}

function paint(canvas, {data, dims: [, channels, height, width]}) { // -1 is black, 1 is white
  const image = new ImageData(width, height), size = width*height
  for (let i = 0; i<size; i++) {
    for (let c = 0; c<3; c++) image.data[4*i+c] = Math.round(127.5*data[(c%channels)*size+i]+127.5)
    image.data[4*i+3] = 255
  }
  Object.assign(canvas, {width, height}).getContext('2d').putImageData(image, 0, 0)
}

const said = {other: 'mixed with', from: 'own layers', psi: 'ψ'}

function control(name, min, max, value, step, changed) {
  const label = document.createElement('label'), input = document.createElement('input'), shown = document.createElement('output')
  label.style.display = 'contents'
  Object.assign(input, {type: 'range', name, min, max, step, value, ariaLabel: said[name] ?? name, autocomplete: 'off',
    style: 'min-width:0;width:100%;accent-color:var(--bs-link-color)'})
  Object.assign(shown, {value, style: 'min-width:4ch;text-align:right'})
  input.oninput = () => { shown.value = input.value; changed() }
  label.append(Object.assign(document.createElement('span'), {textContent: input.ariaLabel}), input, shown)
  return label
}

async function start(figure) {
  const say = text => figure.querySelector('[role=status]').textContent = text
  say('Loading …')
  const {facts, draw} = await opened(), live = figure.querySelector('[data-live]'), canvas = live.querySelector('canvas')
  const values = () => Object.fromEntries([...live.querySelectorAll('input')].map(o => [o.name, +o.value]))
  let wanted = 0, busy = false
  const redraw = async () => { // one picture at a time, and always the latest
    if (wanted++, busy) return
    busy = true
    for (let done = 0; done!==wanted;) {
      const began = performance.now()
      done = wanted
      paint(canvas, await draw(styles(facts, values())))
      canvas.dataset.drawn = done
      say(`Drawn here in ${Math.round(performance.now()-began)} ms`)
    }
    busy = false
  }
  const last = facts.seeds.length-1, {face, other, psi} = facts.start
  const rows = [['face', 0, last, face, 1], ['other', 0, last, other, 1], ['from', 0, facts.layers, facts.layers, 1],
    ['psi', -1, 1.5, psi, .05], ...Object.keys(facts.directions).map(k => [k, -4, 4, 0, .1])]
  live.querySelector('[data-sliders]').append(...rows.map(o => control(...o, redraw)))
  await redraw()
  live.hidden = false
  figure.querySelector('[data-beforehand]').hidden = true
  figure.querySelector('button').remove()
  figure.live = {facts, draw, styles}
}

for (const figure of document.querySelectorAll('figure[data-generator]')) {
  const button = figure.querySelector('button')
  button.hidden = !(globalThis.WebAssembly && globalThis.DecompressionStream && location.protocol.startsWith('http'))
  const failed = e => figure.querySelector('[role=status]').textContent =
    `This browser cannot draw here (${e.message}); the pictures above were drawn beforehand.`
  button.onclick = () => { button.disabled = true; start(figure).catch(failed) }
}
