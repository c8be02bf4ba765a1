(define (f)
  (if))
