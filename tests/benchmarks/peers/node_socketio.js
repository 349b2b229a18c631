// Node's Socket.IO: the WebSocket transport and its rooms. Arguments: PORT
const http = require('http')
const { Server } = require('socket.io')

const server = http.createServer()
const io = new Server(server, { transports: ['websocket'] })

io.on('connection', (socket) => {
  socket.join('chat')
  socket.on('noti', (message) => io.to('chat').emit('noti', message))
  socket.on('echo', (message) => socket.emit('echo', message))
  socket.on('move', (message) => socket.to(message.room).emit('move', message))
  socket.on('join', (room) => {
    socket.join(room)
    socket.emit('joined', room)
  })
  socket.on('leave', (room) => {
    socket.leave(room)
    socket.emit('left', room)
  })
})

server.listen(Number(process.argv[2]), '127.0.0.1')
