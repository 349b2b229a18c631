// Node's ws: one send per member, as its documentation shows. Arguments: PORT [deflate]
const { WebSocketServer } = require('ws')

const [port, deflate] = process.argv.slice(2)
const server = new WebSocketServer({
  port: Number(port),
  host: '127.0.0.1',
  perMessageDeflate: deflate === 'deflate',
})

const rooms = new Map()

server.on('connection', (socket) => {
  const mine = new Set()
  socket.on('close', () => mine.forEach((room) => rooms.get(room).delete(socket)))
  socket.on('message', (message) => {
    const data = JSON.parse(message)
    const answer = { event: data.event, message: data.message, sender: 'x', room: 'chat' }
    const text = JSON.stringify(answer)
    if (data.event === 'move') {
      for (const member of rooms.get(data.message.room)) if (member !== socket) member.send(text)
    } else if (data.event === 'echo') socket.send(text)
    else if (data.event === 'join') {
      if (!rooms.has(data.message)) rooms.set(data.message, new Set())
      rooms.get(data.message).add(socket)
      mine.add(data.message)
      socket.send(text)
    } else for (const member of server.clients) member.send(text)
  })
})
