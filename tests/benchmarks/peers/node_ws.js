// Node's ws: one send per member, as its documentation shows. Arguments: PORT [deflate]
const { WebSocketServer } = require('ws')

const [port, deflate] = process.argv.slice(2)
const server = new WebSocketServer({
  port: Number(port),
  host: '127.0.0.1',
  perMessageDeflate: deflate === 'deflate',
})

server.on('connection', (socket) => {
  socket.on('message', (message) => {
    const data = JSON.parse(message)
    const answer = { event: data.event, message: data.message, sender: 'x', room: 'chat' }
    const text = JSON.stringify(answer)
    if (data.event === 'echo') socket.send(text)
    else for (const member of server.clients) member.send(text)
  })
})
