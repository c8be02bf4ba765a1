(display "x")
(let ((a 1)
  (display a)
